import { open } from 'node:fs/promises';
import { openNbdDevice } from '../../src/stores/nbd/device.ts';

/**
 * A process of its own in the bench: `read SOCKET CONNECTIONS`, `write SOCKET CONNECTIONS FILE` with pieces of 1 MiB,
 * and `extents SOCKET 1`. Prints what it took as a Sample, without the start of Node: in Hawser this client lives in a
 * process that runs already.
 */
const STEP = 2 ** 20;

const [way, socket = '', count = '1', path = ''] = process.argv.slice(2);
const connections = Number(count);
/** As a body has, and as many bodies as connections. */
const LANES = 4 * connections + (connections === 1 ? 4 : 1);
await using device = await openNbdDevice({ address: { kind: 'unix', path: socket }, connections });
const begun = performance.now();
const before = process.cpuUsage();
if (way === 'read') await readAll();
else if (way === 'write') await writeAll();
else await listExtents();
const { user, system } = process.cpuUsage(before);
console.log(JSON.stringify({ seconds: (performance.now() - begun) / 1000, cpuSeconds: (user + system) / 1e6 }));

async function readAll(): Promise<void> {
  await inLanes((buffer, offset) => device.read(buffer, offset));
}

async function writeAll(): Promise<void> {
  await using file = await open(path, 'r');
  await inLanes(async (buffer, offset) => {
    await file.read(buffer, 0, buffer.length, offset);
    await device.write(buffer, offset);
  });
  await device.flush();
}

async function listExtents(): Promise<void> {
  for await (const _ of device.extents({ offset: 0, length: device.size }));
}

async function inLanes(work: (buffer: Buffer, offset: number) => Promise<void>): Promise<void> {
  let at = 0;
  const lane = async () => {
    const buffer = Buffer.allocUnsafeSlow(STEP);
    for (let offset = at; offset < device.size; offset = at) {
      at += STEP;
      await work(buffer.subarray(0, Math.min(STEP, device.size - offset)), offset);
    }
  };
  await Promise.all(Array.from({ length: LANES }, lane));
}
