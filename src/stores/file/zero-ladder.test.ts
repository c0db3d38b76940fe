import { mkdtemp, open, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { punchHole } from '../../native/allocate.ts';
import { nextData } from '../../native/extents.ts';
import { ZeroLadder, type ZeroRung } from './zero-ladder.ts';

const MiB = 1024 * 1024;

/** A file of `size` bytes with data at its start and in its last MiB. */
async function given(size: number) {
  const folder = await mkdtemp(join(tmpdir(), 'hawser-ladder-'));
  const handle = await open(join(folder, 'f'), 'w+');
  onTestFinished(async () => {
    await handle.close();
    await rm(folder, { recursive: true, force: true });
  });
  await handle.truncate(size);
  await handle.write(new Uint8Array(MiB).fill(1), 0, MiB, 0);
  await handle.write(new Uint8Array(MiB).fill(1), 0, MiB, size - MiB);
  return handle;
}

/** Punches, and notes what it was asked for. */
function noted(steps: number[], after: () => void = () => {}): ZeroRung {
  return async (fd, offset, length) => {
    steps.push(offset, length);
    const answer = await punchHole(fd, offset, length);
    after();
    return answer;
  };
}

test('a large range goes in steps of at most 128 MiB that meet at multiples of it', async () => {
  const handle = await given(400 * MiB);
  const steps: number[] = [];
  await new ZeroLadder([noted(steps)]).zero(handle.fd, { offset: 5, length: 300 * MiB });
  expect(steps).toEqual([5, 128 * MiB - 5, 128 * MiB, 128 * MiB, 256 * MiB, 44 * MiB + 5]);
});

test('an abort is heard between two steps; what follows is left alone', async () => {
  const size = 400 * MiB;
  const handle = await given(size);
  const stop = new AbortController();
  const steps: number[] = [];
  const ladder = new ZeroLadder([noted(steps, () => stop.abort(new Error('stop')))]);
  await expect(ladder.zero(handle.fd, { offset: 0, length: size }, stop.signal)).rejects.toThrow('stop');
  expect(steps).toEqual([0, 128 * MiB]);
  expect(nextData(handle.fd, 0, size)).toBe(size - MiB);
});

test('a rung that refused is never asked again, and the next one does the whole range', async () => {
  const size = 300 * MiB;
  const handle = await given(size);
  let asked = 0;
  const refuse: ZeroRung = async () => {
    asked++;
    return 'refused';
  };
  const ladder = new ZeroLadder([refuse, punchHole]);
  await ladder.zero(handle.fd, { offset: 0, length: size });
  await ladder.zero(handle.fd, { offset: 0, length: size });
  expect(asked).toBe(1);
  expect(nextData(handle.fd, 0, size)).toBe(size);
});

test('two ranges at once that are refused skip one rung, not two', async () => {
  const handle = await given(10 * MiB);
  const refuse: ZeroRung = async () => 'refused';
  let punched = 0;
  const punch: ZeroRung = (fd, offset, length) => {
    punched++;
    return punchHole(fd, offset, length);
  };
  const ladder = new ZeroLadder([refuse, punch]);
  await Promise.all([0, 1, 2].map((i) => ladder.zero(handle.fd, { offset: i * MiB, length: MiB })));
  expect(punched).toBe(3);
});

test('without a rung zeros are written, and an abort ends that too', async () => {
  const handle = await given(10 * MiB);
  await new ZeroLadder([]).zero(handle.fd, { offset: 1, length: 3 * MiB });
  const bytes = Buffer.alloc(10 * MiB);
  await handle.read(bytes, 0, bytes.length, 0);
  expect(bytes[0]).toBe(1);
  expect(bytes.indexOf(1, 1)).toBe(9 * MiB);
  const range = { offset: 9 * MiB, length: MiB };
  await expect(new ZeroLadder([]).zero(handle.fd, range, AbortSignal.abort(new Error('stop')))).rejects.toThrow('stop');
  expect(nextData(handle.fd, 9 * MiB, 10 * MiB)).toBe(9 * MiB);
});
