import { existsSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

/** Programs that a case runs, and what to type when they are missing. */
const programs = {
  nginx: 'nginx-light',
  curl: 'curl',
  openssl: 'openssl',
  nbdcopy: 'libnbd-bin',
  nbdinfo: 'libnbd-bin',
  'qemu-nbd': 'qemu-utils',
  rsync: 'rsync',
} as const;

const MiB = 2 ** 20;
const GiB = 2 ** 30;

interface BenchCase {
  /** Of its section on the page; a section is known again by it. */
  readonly title: string;
  /** For the help. */
  readonly what: string;
  readonly needs: readonly (keyof typeof programs)[];
  /** Bytes of the dense image unless `--size` says them. */
  readonly size?: number;
}

/** What can be measured, in the order of the page. */
export const cases = {
  put: { title: 'PUT', what: 'PUT with one and four streams, in turn with nginx', needs: ['nginx', 'curl'] },
  get: { title: 'GET', what: 'GET with one and four streams, in turn with nginx', needs: ['nginx', 'curl'] },
  tls: { title: 'PUT and GET over TLS', what: 'both over TLS', needs: ['nginx', 'curl', 'openssl'] },
  hash: { title: 'What the digest costs', what: 'the tree digest alone', needs: [] },
  sparse: { title: 'Sparse', what: 'an image of a hundred times its data, up and down by the CLI', needs: [] },
  finish: { title: 'Finish', what: 'finishing images of several sizes', needs: ['curl'] },
  replicate: {
    title: 'Copies between agents',
    what: 'one more copy from agent to agent, in turn with rsync and cp --sparse',
    needs: ['rsync'],
  },
  chunks: {
    title: "Longhorn's door",
    what: "an image in Longhorn's chunks, in turn with native PUTs; coalescing",
    needs: ['curl'],
  },
  imageio: {
    title: 'The imageio door',
    what: 'the imageio door, in turn with nginx and nbdcopy',
    needs: ['nginx', 'curl', 'openssl', 'nbdcopy', 'qemu-nbd'],
    size: 3 * GiB,
  },
  nbd: {
    title: 'NBD',
    what: 'our NBD client, in turn with nbdcopy',
    needs: ['nbdcopy', 'qemu-nbd', 'nbdinfo'],
    size: 3 * GiB,
  },
} as const satisfies Record<string, BenchCase>;
export type CaseName = keyof typeof cases;
export const caseNames = Object.keys(cases) as CaseName[];

export interface BenchOptions {
  readonly rounds: number;
  /** Bytes of the dense image; undefined: what each case has by itself (`sizeOfCase`). */
  readonly size: number | undefined;
  readonly only: readonly CaseName[];
  /** All that is measured keeps its bytes below it: one filesystem for all. */
  readonly folder: string;
  /** Where the page goes; undefined: to the terminal only. */
  readonly out: string | undefined;
  /** As it was typed, for the page. */
  readonly command: string;
}

/** What is said on the command line; `help` when that is asked for. Throws with what is wrong. */
export function benchOptions(args: readonly string[]): BenchOptions | 'help' {
  const { values } = parseArgs({
    args: [...args],
    options: {
      rounds: { type: 'string', default: '5' },
      size: { type: 'string' },
      only: { type: 'string', default: caseNames.join(',') },
      folder: { type: 'string', default: tmpdir() },
      out: { type: 'string', default: fileURLToPath(new URL('../../docs/benchmarks.md', import.meta.url)) },
      help: { type: 'boolean', short: 'h', default: false },
    },
  });
  if (values.help) return 'help';
  const rounds = Number(values.rounds);
  if (!Number.isInteger(rounds) || rounds < 1) throw new Error(`--rounds must be 1 or more; found ${values.rounds}.`);
  return {
    rounds,
    size: values.size === undefined ? undefined : bytesOf(values.size),
    only: values.only.split(',').map(caseOf),
    folder: values.folder,
    out: values.out === '' || values.out === '-' ? undefined : values.out,
    command: ['npm run bench', ...(args.length > 0 ? ['--', ...args] : [])].join(' '),
  };
}

export const benchHelp = `npm run bench -- [options]

Measures, prints, and writes docs/benchmarks.md: a section for each case, of which only those that were
measured now are replaced. Run it on a quiet machine.

  --only <cases>    divided by commas; all when left out
  --rounds <n>      that count, after one that does not (default: 5)
  --size <size>     of the dense image: 256MiB, 1GiB (default: 1GiB, of imageio and nbd 3GiB)
  --folder <path>   where all bytes lie while it runs (default: ${tmpdir()})
  --out <file>      another page; - for the terminal only
  -h, --help        this

Cases:
${caseNames.map((name) => `  ${name.padEnd(16)}  ${cases[name].what}`).join('\n')}
`;

/** Throws when a program that these cases run is not there. */
export function mustHavePrograms(names: readonly CaseName[]): void {
  const folders = [...(process.env.PATH ?? '').split(delimiter), '/usr/sbin', '/sbin'];
  for (const program of new Set(names.flatMap((name): readonly (keyof typeof programs)[] => cases[name].needs))) {
    if (folders.some((folder) => existsSync(join(folder, program)))) continue;
    throw new Error(`The bench needs ${program} (apt-get install ${programs[program]}).`);
  }
}

/** Bytes of the dense image of this case. */
export function sizeOfCase(name: CaseName, { size }: Pick<BenchOptions, 'size'>): number {
  const one: BenchCase = cases[name];
  return size ?? one.size ?? GiB;
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
