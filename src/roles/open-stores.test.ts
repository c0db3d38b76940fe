import { mkdir, mkdtemp, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { configSchema } from '../config/schema.ts';
import { openDataFolder } from '../host/data-folder.ts';
import { openStores } from './open-stores.ts';

let folder = '';
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'hawser-open-stores-'));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

const log = { info: () => {}, warn: () => {} };

/** Opens as a start does, looks, and closes. Answers the problem of the Store, or undefined. */
async function start(path: string, data = 'data'): Promise<string | undefined> {
  await using dataFolder = await openDataFolder(join(folder, data));
  const config = configSchema.parse({ stores: [{ name: 'disk', path }] });
  const { stores } = await openStores(config, dataFolder, log);
  try {
    await stores[0]?.store.usage();
    return undefined;
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  } finally {
    await Promise.all(stores.map(({ store }) => store.close()));
  }
}

test('a Store whose filesystem is not mounted is refused, not made anew on the empty mount point', async () => {
  const mount = join(folder, 'mount');
  expect(await start(mount)).toBeUndefined();
  expect(await start(mount)).toBeUndefined();
  // Unmounted: the folder is there and empty; then it is gone altogether.
  await rename(mount, join(folder, 'away'));
  await mkdir(mount);
  const problem = await start(mount);
  expect(problem).toContain('The folder of the store disk is not the one it had');
  expect(await readdir(mount)).toEqual([]);
  await rm(mount, { recursive: true });
  expect(await start(mount)).toBe(problem);
  await rename(join(folder, 'away'), mount);
  expect(await start(mount)).toBeUndefined();
});

test('what the message says helps: without the record it begins empty', async () => {
  const mount = join(folder, 'mount');
  await start(mount);
  await rm(mount, { recursive: true });
  const problem = (await start(mount)) ?? '';
  const record = /agent\/stores\/[0-9a-f-]+/.exec(problem)?.[0] ?? '';
  await rm(join(folder, 'data', record));
  expect(await start(mount)).toBeUndefined();
});

test('a folder that belongs to another Store is refused, and so is one whose mark cannot be read', async () => {
  const mount = join(folder, 'mount');
  await start(mount);
  expect(await start(mount, 'other')).toContain('marked as that of another store');
  expect(await start(mount)).toBeUndefined();
  const mark = join(mount, 'hawser-store.json');
  const before = await readFile(mark);
  await writeFile(mark, '{');
  expect(await start(mount)).toContain('its mark cannot be read');
  await writeFile(mark, before);
  expect(await start(mount)).toBeUndefined();
});

test('a disk that failed under one Store kept the agent from starting', async () => {
  const mount = join(folder, 'mount');
  await start(mount);
  await rm(join(mount, 'hawser-store.json'));
  await mkdir(join(mount, 'hawser-store.json')); // reads fail, as they do on a broken disk
  expect(await start(mount)).toContain('The folder of the store disk cannot be read (EISDIR)');
});

test('a Store of before there were marks is marked at its next start', async () => {
  const mount = join(folder, 'mount');
  await mkdir(join(mount, 'objects'), { recursive: true });
  expect(await start(mount)).toBeUndefined();
  expect(await readdir(mount)).toContain('hawser-store.json');
});
