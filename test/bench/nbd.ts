import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { makeSparseFile } from '../wire/sparse-file.ts';
import { measuredChildren, type Sample } from './measure.ts';
import { startQemuNbd } from './qemu-nbd.ts';
import { type Rivals, rival } from './rivals.ts';
import { runQuietly } from './run.ts';

export type NbdRivals = Rivals<'hawser' | 'peer'>;

export interface NbdResult {
  /** In turn with nbdcopy. */
  readonly copies: readonly NbdRivals[];
  /** In turn with `nbdinfo --map`. */
  readonly extents: NbdRivals;
  readonly sparse: { readonly size: number; readonly data: number };
}

const GiB = 2 ** 30;
const ours = fileURLToPath(new URL('./nbd-copy.ts', import.meta.url));

export interface NbdMeans {
  readonly folder: string;
  /** The dense image. */
  readonly source: string;
  readonly rounds: number;
  readonly size: number;
  readonly note: (text: string) => void;
}

/** Our NBD client against libnbd's programs, each as a process of its own with the same qemu-nbd; CPU is of the client. */
export async function nbdCase(means: NbdMeans): Promise<NbdResult> {
  const { folder, source, rounds, size, note } = means;
  const copies: NbdRivals[] = [];
  {
    await using server = await startQemuNbd(folder, size);
    for (const connections of [1, 4]) {
      const nbdcopy = ['nbdcopy', `--connections=${connections}`, '--requests=16'];
      const contests = {
        write: { ours: ['write', source], peer: [...nbdcopy, '--flush', source, server.uri] },
        read: { ours: ['read'], peer: [...nbdcopy, server.uri, 'null:'] },
      };
      for (const [way, commands] of Object.entries(contests)) {
        const name = `${way}, ${connections} connection${connections === 1 ? '' : 's'}`;
        const [how = '', ...file] = commands.ours;
        const command = [process.execPath, ours, how, server.socket, String(connections), ...file];
        const ways = { hawser: () => told(command), peer: () => spent(commands.peer) };
        copies.push(await rival({ name, bytes: size, rounds, folder, ways }));
        note(name);
      }
    }
  }
  const data = Math.min(size, GiB);
  const sparse = { size: 20 * data, data };
  return { copies, extents: await extentsOf(sparse, means), sparse };
}

async function extentsOf({ size, data }: NbdResult['sparse'], { folder, rounds }: NbdMeans): Promise<NbdRivals> {
  const image = join(folder, 'nbd-sparse');
  await makeSparseFile(image, size, data);
  await using server = await startQemuNbd(folder, size, image);
  const ways = {
    hawser: () => told([process.execPath, ours, 'extents', server.socket, '1']),
    peer: () => spent(['nbdinfo', '--map', server.uri]),
  };
  const result = await rival({ name: 'extents', bytes: data, rounds, folder, ways });
  await rm(image);
  return result;
}

/** Our own client says it itself, see nbd-copy.ts. */
async function told(command: readonly string[]): Promise<Sample> {
  return JSON.parse(await runQuietly(command)) as Sample;
}

function spent(command: readonly string[]): Promise<Sample> {
  return measuredChildren(async () => void (await runQuietly(command)));
}
