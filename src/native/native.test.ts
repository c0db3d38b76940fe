import { mkdtemp, open, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { allocate, punchHole, zeroRange } from './allocate.ts';
import { copyRange, reflink } from './copy.ts';
import { localExtents, nextData, nextHole } from './extents.ts';
import { freeSpace } from './free-space.ts';
import { libc } from './libc.ts';
import { renameNoReplace } from './rename.ts';

const MiB = 1024 * 1024;

async function given() {
  const folder = await mkdtemp(join(tmpdir(), 'hawser-native-'));
  onTestFinished(async () => rm(folder, { recursive: true, force: true }));
  const file = async (name: string) => {
    const handle = await open(join(folder, name), 'w+');
    onTestFinished(async () => handle.close());
    return handle;
  };
  return { folder, file };
}

test('libc is there on 64-bit Linux', () => {
  expect(libc() !== undefined).toBe(process.platform === 'linux' && ['x64', 'arm64'].includes(process.arch));
});

test('data and holes of a sparse file of 100 GiB are found without reading', async () => {
  const { file } = await given();
  const handle = await file('sparse');
  const size = 100 * 1024 * MiB;
  await handle.truncate(size);
  await handle.write(new Uint8Array(MiB).fill(1), 0, MiB, 5 * MiB);
  await handle.write(new Uint8Array(MiB).fill(1), 0, MiB, 70_000 * MiB);
  expect(nextData(handle.fd, 0, size)).toBe(5 * MiB);
  expect(nextHole(handle.fd, 0, size)).toBe(0);
  expect(nextHole(handle.fd, 5 * MiB, size)).toBe(6 * MiB);
  expect(nextData(handle.fd, 80_000 * MiB, size)).toBe(size);
  expect([...localExtents(handle.fd, size)]).toEqual([
    { offset: 0, length: 5 * MiB, kind: 'hole' },
    { offset: 5 * MiB, length: MiB, kind: 'data' },
    { offset: 6 * MiB, length: 69_994 * MiB, kind: 'hole' },
    { offset: 70_000 * MiB, length: MiB, kind: 'data' },
    { offset: 70_001 * MiB, length: size - 70_001 * MiB, kind: 'hole' },
  ]);
  expect([...localExtents(handle.fd, 6 * MiB - 3, 5 * MiB + 1)]).toEqual([
    { offset: 5 * MiB + 1, length: MiB - 4, kind: 'data' },
  ]);
  expect([...localExtents(handle.fd, 0)]).toEqual([]);
});

test('extents of a file that got shorter end all the same', async () => {
  const { file } = await given();
  const handle = await file('short');
  await handle.write('x'.repeat(10_000));
  expect([...localExtents(handle.fd, 20_000)]).toEqual([
    { offset: 0, length: 10_000, kind: 'data' },
    { offset: 10_000, length: 10_000, kind: 'hole' },
  ]);
});

test('allocate, punch and zero', async () => {
  const { file } = await given();
  const handle = await file('f');
  expect(await allocate(handle.fd, 0, 4 * MiB)).toBe('done');
  expect((await handle.stat()).size).toBe(4 * MiB);
  await handle.write(new Uint8Array(4 * MiB).fill(1), 0, 4 * MiB, 0);
  const before = (await handle.stat()).blocks;
  expect(await punchHole(handle.fd, MiB, 2 * MiB)).toBe('done');
  expect((await handle.stat()).blocks).toBeLessThan(before);
  expect(await zeroRange(handle.fd, 0, 10)).toBe('done');
  const bytes = await readFile(handle);
  expect(bytes.length).toBe(4 * MiB);
  expect(bytes.indexOf(1)).toBe(10);
  expect(bytes.indexOf(1, MiB)).toBe(3 * MiB);
  expect(await punchHole(handle.fd, 0, 0)).toBe('done');
});

test('an error of the call itself has its code: a closed descriptor, a full size', async () => {
  const { file } = await given();
  const handle = await file('f');
  await expect(punchHole(999_999, 0, 10)).rejects.toMatchObject({ code: 'EBADF', syscall: 'fallocate' });
  await expect(allocate(handle.fd, 2 ** 52, 10)).rejects.toMatchObject({ code: 'EFBIG' });
  expect(() => nextData(999_999, 0, 10)).toThrow('EBADF');
});

test('errors of calls that run at once are told apart', async () => {
  const { file } = await given();
  const handle = await file('f');
  const calls = Array.from({ length: 40 }, (_, i) =>
    i % 2 === 0 ? punchHole(999_999, 0, 10) : allocate(handle.fd, 2 ** 52, 10),
  );
  const codes = (await Promise.allSettled(calls)).map((result) =>
    result.status === 'rejected' ? result.reason.code : '',
  );
  expect(codes).toEqual(calls.map((_, i) => (i % 2 === 0 ? 'EBADF' : 'EFBIG')));
});

test('copyRange copies what is there, at offsets, and stops at the end', async () => {
  const { file } = await given();
  const from = await file('from');
  const to = await file('to');
  const bytes = Buffer.alloc(3 * MiB, 'abcdefg');
  await from.write(bytes);
  expect(await copyRange({ fd: from.fd, offset: 1000 }, { fd: to.fd, offset: 7 }, 2 * MiB)).toBe(2 * MiB);
  const copied = Buffer.alloc(2 * MiB);
  await to.read(copied, 0, copied.length, 7);
  expect(copied.equals(bytes.subarray(1000, 1000 + 2 * MiB))).toBe(true);
  expect(await copyRange({ fd: from.fd, offset: 3 * MiB - 5 }, { fd: to.fd, offset: 0 }, 100)).toBe(5);
  const stop = AbortSignal.abort(new Error('stop'));
  await expect(copyRange({ fd: from.fd, offset: 0 }, { fd: to.fd, offset: 0 }, 5, stop)).rejects.toThrow('stop');
});

test('reflink shares, or says that it cannot', async () => {
  const { file } = await given();
  const from = await file('from');
  const to = await file('to');
  await from.write('content');
  const shared = await reflink(from.fd, to.fd);
  expect((await readFile(to)).toString()).toBe(shared ? 'content' : '');
});

test('renameNoReplace moves, and never replaces', async () => {
  const { folder } = await given();
  await writeFile(join(folder, 'a'), 'a');
  await writeFile(join(folder, 'b'), 'b');
  await expect(renameNoReplace(join(folder, 'a'), join(folder, 'b'))).rejects.toMatchObject({ code: 'EEXIST' });
  expect(await readFile(join(folder, 'b'), 'utf8')).toBe('b');
  await renameNoReplace(join(folder, 'a'), join(folder, 'c'));
  expect(await readFile(join(folder, 'c'), 'utf8')).toBe('a');
  await expect(renameNoReplace(join(folder, 'a'), join(folder, 'd'))).rejects.toMatchObject({ code: 'ENOENT' });
});

test('advice is taken, free space is bytes', async () => {
  const { folder, file } = await given();
  const handle = await file('f');
  await handle.write('x');
  const { capacity, free } = await freeSpace(folder);
  expect(free).toBeGreaterThan(0);
  expect(capacity).toBeGreaterThan(free);
});
