import { createRequire } from 'node:module';
import { libc } from './libc.ts';

/**
 * `length` bytes of memory at a multiple of `alignment` (a power of two), as O_DIRECT wants them. Undefined where
 * addresses cannot be asked for.
 */
export function alignedBuffer(length: number, alignment: number): Buffer | undefined {
  if (libc() === undefined) return undefined;
  const whole = Buffer.allocUnsafeSlow(length + alignment);
  const past = addressOf(whole) % BigInt(alignment);
  const from = past === 0n ? 0 : alignment - Number(past);
  return whole.subarray(from, from + length);
}

function addressOf(buffer: Buffer): bigint {
  const koffi: typeof import('koffi') = createRequire(import.meta.url)('koffi');
  return BigInt(koffi.address(buffer));
}
