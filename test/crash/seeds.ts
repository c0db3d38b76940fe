import { randomInt } from 'node:crypto';

/** Round `n` has the seed `firstSeed + n`: CRASH_SEED, else another one in every run. */
export const firstSeed = Number(process.env.CRASH_SEED ?? randomInt(1, 2 ** 31));

/** 0, 1, 2 …: as many as CRASH_ROUNDS says, else `usual`. */
export function rounds(usual: number): readonly number[] {
  return Array.from({ length: Number(process.env.CRASH_ROUNDS ?? usual) }, (_, round) => round);
}
