import { mkdtemp, open, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { allocate, punchHole, zeroRange } from './allocate.ts';
import { copyRange, reflink } from './copy.ts';
import { localExtents, nextData, nextHole } from './extents.ts';
import { libc } from './libc.ts';
import { pinnedTls } from './pinned-tls.ts';
import { renameNoReplace } from './rename.ts';

// libc() looks once, at its first use: in this file, on a machine where it knows no library.
Object.defineProperty(process, 'platform', { value: 'freebsd' });

async function given() {
  const folder = await mkdtemp(join(tmpdir(), 'hawser-native-'));
  onTestFinished(async () => rm(folder, { recursive: true, force: true }));
  await writeFile(join(folder, 'a'), 'content of a');
  await writeFile(join(folder, 'b'), 'content of b');
  const a = await open(join(folder, 'a'), 'r+');
  const b = await open(join(folder, 'b'), 'r+');
  onTestFinished(async () => {
    await a.close();
    await b.close();
  });
  return { folder, a, b };
}

test('everything is data', async () => {
  const { a } = await given();
  expect(libc()).toBeUndefined();
  expect(nextData(a.fd, 3, 12)).toBe(3);
  expect(nextHole(a.fd, 3, 12)).toBe(12);
  expect([...localExtents(a.fd, 12, 2)]).toEqual([{ offset: 2, length: 10, kind: 'data' }]);
});

test('allocations and reflinks are refused and change nothing, advice is dropped', async () => {
  const { a, b, folder } = await given();
  expect(await allocate(a.fd, 0, 100)).toBe('refused');
  expect(await punchHole(a.fd, 0, 5)).toBe('refused');
  expect(await zeroRange(a.fd, 0, 5)).toBe('refused');
  expect(await reflink(a.fd, b.fd)).toBe(false);
  expect(await readFile(join(folder, 'a'), 'utf8')).toBe('content of a');
  expect(await readFile(join(folder, 'b'), 'utf8')).toBe('content of b');
});

test('there is no TLS but that of node', () => {
  expect(pinnedTls()).toBeUndefined();
});

test('copyRange goes through a buffer', async () => {
  const { a, b, folder } = await given();
  const bytes = Buffer.alloc(3_000_000, 'abcdefg');
  await a.write(bytes, 0, bytes.length, 0);
  expect(await copyRange({ fd: a.fd, offset: 3 }, { fd: b.fd, offset: 0 }, 2_500_000)).toBe(2_500_000);
  expect((await readFile(join(folder, 'b'))).equals(bytes.subarray(3, 2_500_003))).toBe(true);
  expect(await copyRange({ fd: a.fd, offset: 2_999_990 }, { fd: b.fd, offset: 0 }, 100)).toBe(10);
});

test('renameNoReplace never replaces', async () => {
  const { folder } = await given();
  await expect(renameNoReplace(join(folder, 'a'), join(folder, 'b'))).rejects.toMatchObject({ code: 'EEXIST' });
  expect(await readFile(join(folder, 'b'), 'utf8')).toBe('content of b');
  await renameNoReplace(join(folder, 'a'), join(folder, 'c'));
  expect(await readFile(join(folder, 'c'), 'utf8')).toBe('content of a');
});
