import { writeSync } from 'node:fs';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { type LocalDeviceOptions, openLocalDevice } from './local-device.ts';

const MiB = 1024 * 1024;

async function given(options: Partial<LocalDeviceOptions> = {}, size = 0) {
  const folder = await mkdtemp(join(tmpdir(), 'hawser-local-'));
  onTestFinished(() => rm(folder, { recursive: true, force: true }));
  const path = join(folder, 'file');
  await writeFile(path, Buffer.alloc(size, 'o'));
  return { path, device: await openLocalDevice({ path, writable: true, ...options }) };
}

const growing = { growTo: 8 * MiB, growAsWritten: true };
const whole = { offset: 0, length: 8 * MiB };

test('what a borrower has written is not cut off by a zero or a write that makes the file longer', async () => {
  const { path, device } = await given(growing);
  const file = await device.lend?.(whole);
  if (file === undefined) throw new Error('was to lend');
  writeSync(file.fd, Buffer.alloc(MiB, 'n'), 0, MiB, 5 * MiB);
  // It has not been told of yet.
  await device.zero({ offset: MiB, length: MiB });
  await device.write(Buffer.alloc(MiB, 'w'), 3 * MiB);
  expect(device.size).toBe(4 * MiB);
  file.wrote({ offset: 5 * MiB, length: MiB });
  expect(device.size).toBe(6 * MiB);
  file.giveBack();
  await device[Symbol.asyncDispose]();
  const expected = Buffer.alloc(6 * MiB);
  expected.fill('w', 3 * MiB, 4 * MiB).fill('n', 5 * MiB);
  expect((await readFile(path)).equals(expected)).toBe(true);
});

test('two that let one file grow do not cut off what the other has written', async () => {
  const { path, device } = await given(growing);
  await using other = await openLocalDevice({ path, writable: true, ...growing });
  await device.write(Buffer.from('behind'), 4 * MiB);
  await other.write(Buffer.from('before'), 0);
  await other.zero({ offset: MiB, length: MiB });
  await device[Symbol.asyncDispose]();
  const bytes = await readFile(path);
  expect([bytes.length, bytes.toString('latin1', 4 * MiB)]).toEqual([4 * MiB + 6, 'behind']);
});

test('it is closed only once what was lent is back, and is then lent no more', async () => {
  const { device } = await given({}, MiB);
  const file = await device.lend?.({ offset: 0, length: MiB });
  let closed = false;
  const closing = device[Symbol.asyncDispose]().then(() => {
    closed = true;
  });
  await new Promise((resolve) => setImmediate(resolve));
  expect(closed).toBe(false);
  writeSync(file?.fd ?? -1, 'late', 0);
  file?.giveBack();
  file?.giveBack();
  await closing;
  await expect(device.lend?.({ offset: 0, length: 1 })).rejects.toMatchObject({ code: 'conflict' });
});

test('nothing is lent to write where nothing may be written', async () => {
  const { path, device } = await given(growing);
  await expect(device.lend?.({ offset: 8 * MiB, length: 1 })).rejects.toMatchObject({ code: 'out-of-range' });
  await device[Symbol.asyncDispose]();
  await using read = await openLocalDevice({ path, writable: false });
  await expect(read.lend?.({ offset: 0, length: 0 })).rejects.toMatchObject({ code: 'forbidden' });
});

test('past the page cache nothing is lent', async () => {
  const { device } = await given({ direct: true }, MiB);
  expect(await device.lend?.({ offset: 0, length: MiB })).toBeUndefined();
  await device[Symbol.asyncDispose]();
});
