import { tmpdir } from 'node:os';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

export const caseNames = ['put', 'get', 'tls', 'sparse', 'finish', 'hash', 'nbd', 'imageio'] as const;
export type CaseName = (typeof caseNames)[number];

export interface BenchOptions {
  readonly rounds: number;
  /** Bytes of the dense image. */
  readonly size: number;
  readonly only: readonly CaseName[];
  /** Both servers keep their bytes below it: one filesystem for both. */
  readonly folder: string;
  /** Where the page goes; undefined: to the terminal only. */
  readonly out: string | undefined;
  /** As it was typed, for the page. */
  readonly command: string;
}

const MiB = 1024 * 1024;

/** What is said on the command line. Throws with what is wrong. */
export function benchOptions(args: readonly string[]): BenchOptions {
  const { values } = parseArgs({
    args: [...args],
    options: {
      rounds: { type: 'string', default: '5' },
      size: { type: 'string', default: '1GiB' },
      only: { type: 'string', default: caseNames.join(',') },
      folder: { type: 'string', default: tmpdir() },
      out: { type: 'string', default: fileURLToPath(new URL('../../docs/benchmarks.md', import.meta.url)) },
    },
  });
  const rounds = Number(values.rounds);
  if (!Number.isInteger(rounds) || rounds < 1) throw new Error(`--rounds must be 1 or more; found ${values.rounds}.`);
  return {
    rounds,
    size: bytesOf(values.size),
    only: values.only.split(',').map(caseOf),
    folder: values.folder,
    out: values.out === '' || values.out === '-' ? undefined : values.out,
    command: ['npm run bench', ...(args.length > 0 ? ['--', ...args] : [])].join(' '),
  };
}

function caseOf(text: string): CaseName {
  const found = caseNames.find((name) => name === text.trim());
  if (found === undefined) throw new Error(`--only takes ${caseNames.join(', ')}; found "${text}".`);
  return found;
}

/** Whole MiB, so that four streams divide it. */
function bytesOf(text: string): number {
  const match = /^(\d+)\s*(MiB|M|GiB|G)$/i.exec(text);
  const unit = match?.[2]?.toLowerCase().startsWith('g') ? 1024 : 1;
  const size = Number(match?.[1]) * unit * MiB;
  if (match === null || size < 16 * MiB || size % (4 * MiB) !== 0) {
    throw new Error(`--size is written 256MiB or 1GiB, at least 16MiB and a multiple of 4MiB; found "${text}".`);
  }
  return size;
}
