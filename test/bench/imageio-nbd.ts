import { type Door, type DoorAddress, getStreams, putParts } from './imageio-door.ts';
import { type ImageioMeans, type ImageioRow, type Transport, transports } from './imageio-row.ts';
import { measured, measuredChildren } from './measure.ts';
import { startQemuNbd } from './qemu-nbd.ts';
import { rival } from './rivals.ts';
import { runQuietly } from './run.ts';

/** Tickets for an NBD server, in turn with nbdcopy that goes to the same one from a file and to nowhere. CPU is without the server's. */
export async function imageioOverNbd(
  door: Door,
  at: Readonly<Record<Transport, DoorAddress>>,
  means: ImageioMeans,
): Promise<readonly ImageioRow[]> {
  await using server = await startQemuNbd(door.folder, means.size);
  const ticket = await door.ticket({ size: means.size, url: `nbd:unix:${server.socket}`, ops: 'write' });
  const rows: ImageioRow[] = [];
  for (const transport of transports) {
    for (const streams of [1, 4] as const) {
      const all = { streams, transport, at: at[transport], pid: door.pid, ticket, uri: server.uri };
      for (const way of ['PUT', 'GET'] as const) rows.push(await contest(way, all, means));
    }
  }
  await door.end(ticket);
  return rows;
}

interface Contest {
  readonly streams: 1 | 4;
  readonly transport: Transport;
  readonly at: DoorAddress;
  readonly pid: number;
  readonly ticket: string;
  readonly uri: string;
}

async function contest(way: 'PUT' | 'GET', all: Contest, means: ImageioMeans): Promise<ImageioRow> {
  const { streams, transport, at, ticket } = all;
  const { size: bytes, whole, quarters, rounds, folder } = means;
  const name = `${streams} stream${streams === 1 ? '' : 's'}`;
  const parts = streams === 1 ? [whole] : quarters;
  const hawser = () =>
    way === 'PUT' ? putParts(at, ticket, { parts, flush: 'y' }) : getStreams(at, ticket, { streams, size: bytes });
  const nbdcopy = [
    ...['nbdcopy', `--connections=${streams}`],
    ...(way === 'PUT' ? ['--flush', whole.file, all.uri] : [all.uri, 'null:']),
  ];
  const { samples } = await rival({
    ...{ name, bytes, rounds, folder },
    ways: {
      hawser: () => measured(all.pid, hawser),
      nbdcopy: () => measuredChildren(async () => void (await runQuietly(nbdcopy))),
    },
  });
  means.note(`${way}, ${name}, imageio, ${transport}, NBD`);
  const peer = { name: 'nbdcopy' as const, samples: samples.nbdcopy };
  return { way, transport, name, bytes, hawser: samples.hawser, peer };
}
