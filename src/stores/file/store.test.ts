import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeSync } from 'node:fs';
import {
  appendFile,
  chmod,
  link,
  lstat,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  rename,
  rm,
  stat,
  symlink,
  truncate,
  utimes,
  writeFile,
} from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { expect, onTestFinished, test } from 'vitest';
import { openStore } from '../index.ts';
import type { BlockWriter, Store } from '../store.ts';
import { openFileStore } from './store.ts';

async function given(): Promise<{ store: Store; path: string }> {
  const parent = await mkdtemp(join(tmpdir(), 'hawser-file-'));
  onTestFinished(async () => rm(parent, { recursive: true, force: true }));
  const path = join(parent, 'a', 'store');
  const store = await openFileStore({ name: 'test', path });
  onTestFinished(async () => store.close());
  return { store, path };
}

async function put(store: Store, key: string, text: string): Promise<void> {
  await using writer = await store.create({ key });
  await writer.write(Buffer.from(text), 0);
  await writer.seal(text.length);
}

async function textOf(store: Store, key: string): Promise<string> {
  await using reader = await store.open(key);
  const into = Buffer.alloc(reader.size);
  await reader.read(into, 0);
  return into.toString();
}

const code = (wanted: string) => expect.objectContaining({ code: wanted });

test('files are 0600 and folders 0700, whatever the umask allows', async () => {
  const { store, path } = await given();
  await put(store, 'k', 'x');
  await using _writer = await store.create({ key: 'j' });
  for (const folder of [path, join(path, 'incoming'), join(path, 'objects')]) {
    expect((await stat(folder)).mode & 0o777).toBe(0o700);
  }
  expect((await stat(join(path, 'objects', 'k'))).mode & 0o777).toBe(0o600);
  expect((await stat(join(path, 'incoming', 'j'))).mode & 0o777).toBe(0o600);
});

test('no message holds a path', async () => {
  const { store, path } = await given();
  const errors = await Promise.allSettled([
    store.open('none'),
    store.reopen('none'),
    store.create({ key: 'large', size: 2 ** 52 }),
  ]);
  for (const error of errors) {
    if (error.status === 'fulfilled') throw new Error('was to fail');
    expect(error.reason.message).not.toContain('/');
    expect(error.reason.message).not.toContain(path);
    expect(error.reason.message).toContain('"test"');
  }
});

test('only whoever starts a Store is told its folder, when that cannot be made', async () => {
  await expect(openFileStore({ name: 'test', path: '/proc/none/x' })).rejects.toThrow(/"test".*\/proc\/none\/x/);
});

test('symbolic links are never followed, neither to read nor to write', async () => {
  const { store, path } = await given();
  const secret = join(path, '..', 'secret');
  await writeFile(secret, 'secret');
  await symlink(secret, join(path, 'objects', 'k'));
  await symlink(secret, join(path, 'incoming', 'j'));
  await expect(store.open('k')).rejects.toEqual(code('store-failed'));
  await expect(store.stat('k')).rejects.toEqual(code('store-failed'));
  await expect(store.reopen('j')).rejects.toEqual(code('store-failed'));
  await expect(store.create({ key: 'j' })).rejects.toEqual(code('already-exists'));
  await expect(store.create({ key: 'k' })).rejects.toEqual(code('store-failed'));
  await store.remove('k');
  await store.remove('j');
  expect(await readFile(secret, 'utf8')).toBe('secret');
  await put(store, 'k', 'good');
  expect(await textOf(store, 'k')).toBe('good');
});

test('a symbolic link as the folder of sealed objects is refused at the start', async () => {
  const { path } = await given();
  const other = join(path, '..', 'other');
  await mkdir(join(other, 'elsewhere'), { recursive: true });
  await symlink(join(other, 'elsewhere'), join(other, 'objects'));
  await expect(openFileStore({ name: 'test', path: other })).rejects.toEqual(code('store-failed'));
});

test('a FIFO under a key does not hang the reader', async () => {
  const { store, path } = await given();
  execFileSync('mkfifo', [join(path, 'objects', 'k')]);
  await expect(store.open('k')).rejects.toEqual(code('store-failed'));
});

test('a seal never replaces what somebody put in its place', async () => {
  const { store, path } = await given();
  await using writer = await store.create({ key: 'k' });
  await writer.write(Buffer.from('ours'), 0);
  await writeFile(join(path, 'objects', 'k'), 'theirs');
  await expect(writer.seal(4)).rejects.toEqual(code('already-exists'));
  expect(await readFile(join(path, 'objects', 'k'), 'utf8')).toBe('theirs');
  await rm(join(path, 'objects', 'k'));
  await writer.seal(4);
  expect(await textOf(store, 'k')).toBe('ours');
});

test('a seal does not take a file that was put in the place of ours', async () => {
  const { store, path } = await given();
  await using writer = await store.create({ key: 'k' });
  await writer.write(Buffer.from('ours'), 0);
  await writeFile(join(path, 'incoming', 'new'), 'theirs');
  await rename(join(path, 'incoming', 'new'), join(path, 'incoming', 'k'));
  await expect(writer.seal(4)).rejects.toEqual(code('not-found'));
  expect(await readdir(join(path, 'objects'))).toEqual([]);
});

test('the fingerprint changes with the bytes, not with a chmod, a link or a rename of the folder', async () => {
  const { store, path } = await given();
  await put(store, 'k', 'some bytes');
  const file = join(path, 'objects', 'k');
  const fingerprint = async () => {
    const found = await store.stat('k');
    return found.kind === 'sealed' ? found.fingerprint : '';
  };
  const first = await fingerprint();
  await chmod(file, 0o640);
  await link(file, join(path, 'backup'));
  expect(await fingerprint()).toBe(first);
  const { atime, mtime } = await lstat(file);
  await utimes(file, atime, new Date(mtime.getTime() + 1000));
  const second = await fingerprint();
  expect(second).not.toBe(first);
  await truncate(file, 3);
  expect(await fingerprint()).not.toBe(second);
});

test('a sealed file that was cut behind our back is corrupt, not zeros', async () => {
  const { store, path } = await given();
  await put(store, 'k', 'some bytes');
  await using reader = await store.open('k');
  await truncate(join(path, 'objects', 'k'), 3);
  await expect(reader.read(new Uint8Array(10), 0)).rejects.toEqual(code('corrupt'));
});

test('a file that was cut while it is written is corrupt, not zeros', async () => {
  const { store, path } = await given();
  await using writer = await store.create({ key: 'k' });
  await writer.write(Buffer.from('some bytes'), 0);
  await truncate(join(path, 'incoming', 'k'), 3);
  await expect(writer.read(new Uint8Array(10), 0)).rejects.toEqual(code('corrupt'));
});

test('seal, resize, discard and dispose wait for the writes that have begun', async () => {
  const { store } = await given();
  const endings = {
    seal: (writer: BlockWriter) => writer.seal(8_000_000),
    resize: (writer: BlockWriter) => writer.resize(8_000_000),
    discard: (writer: BlockWriter) => writer.discard(),
    dispose: async (writer: BlockWriter) => writer[Symbol.asyncDispose](),
    remove: (writer: BlockWriter) => store.remove(writer.key),
  };
  for (const [key, end] of Object.entries(endings)) {
    await using writer = await store.create({ key });
    let done = 0;
    const writes = [0, 1, 2, 3].map((i) =>
      writer.write(new Uint8Array(2_000_000), i * 2_000_000).then(() => {
        done++;
      }),
    );
    await end(writer);
    expect([key, done]).toEqual([key, 4]);
    await Promise.all(writes);
  }
});

test('a lent descriptor is waited for by whatever changes size or place, and no truncate cuts what it writes', async () => {
  const { store } = await given();
  const writer = await store.create({ key: 'k' });
  const range = { offset: 1_000_000, length: 500_000 };
  const file = await writer.lend?.(range);
  if (file === undefined) throw new Error('was to lend');
  const bytes = Buffer.alloc(range.length, 7);
  writeSync(file.fd, bytes, 0, bytes.length, range.offset);
  await writer.zero({ offset: 0, length: 1000 }); // grows an empty object
  await writer.flush();
  const order: string[] = [];
  const sealing = writer.seal(1_500_000).then(() => order.push('sealed'));
  const disposing = writer[Symbol.asyncDispose]().then(() => order.push('closed'));
  await store.usage(); // a way to the disk and back
  file.wrote(range);
  order.push('given back');
  file.giveBack();
  file.giveBack();
  await Promise.all([sealing, disposing]);
  expect(order).toEqual(['given back', 'sealed', 'closed']);
  await expect(writer.lend?.(range)).rejects.toEqual(code('conflict'));
  await using reader = await store.open('k');
  const into = Buffer.alloc(range.length);
  await reader.read(into, range.offset);
  expect(into.equals(bytes)).toBe(true);
});

test('zeros over a write that failed half way leave none of it', async () => {
  const { store, path } = await given();
  await using writer = await store.create({ key: 'k' });
  await writer.write(Buffer.from('good'), 0);
  // Beyond what ext4 takes as a file: begins, and fails.
  await expect(writer.write(Buffer.from('bad'), 2 ** 52)).rejects.toEqual(code('too-large'));
  await appendFile(join(path, 'incoming', 'k'), 'what the failed write left');
  await expect(writer.read(new Uint8Array(5), 0)).rejects.toEqual(code('out-of-range'));
  await writer.zero({ offset: 4, length: 100 });
  const into = Buffer.alloc(104, 1);
  await writer.read(into, 0);
  expect(into.toString()).toBe(`good${'\0'.repeat(100)}`);
});

test('a folder that went away is a failure, not an empty Store', async () => {
  const { store, path } = await given();
  await put(store, 'k', 'x');
  await rename(join(path, 'objects'), join(path, 'gone'));
  await expect(store.stat('k')).rejects.toEqual(code('store-failed'));
  await expect(store.open('k')).rejects.toEqual(code('store-failed'));
  await mkdir(join(path, 'objects'));
  await expect(store.stat('k')).rejects.toEqual(code('store-failed'));
  await expect(store.remove('k')).rejects.toEqual(code('store-failed'));
});

test('what a seal left at any point can be gone on with', async () => {
  const { store, path } = await given();
  const states = { cut: false, moved: true };
  for (const [key, moved] of Object.entries(states)) {
    await using writer = await store.create({ key, size: 100 });
    await writer.write(Buffer.from('bytes'), 0);
    await truncate(join(path, 'incoming', key), 5);
    if (moved) await rename(join(path, 'incoming', key), join(path, 'objects', key));
  }
  const after = await openFileStore({ name: 'test', path });
  onTestFinished(async () => after.close());
  await using again = await after.reopen('cut');
  await again.seal(5);
  expect(await textOf(after, 'cut')).toBe('bytes');
  expect(await after.stat('moved')).toMatchObject({ kind: 'sealed', size: 5 });
  await expect(after.reopen('moved')).rejects.toEqual(code('already-exists'));
});

test('no descriptor is left behind', async () => {
  const { store } = await given();
  const open = async () => (await readdir('/proc/self/fd')).length;
  await put(store, 'warm', 'x');
  const before = await open();
  for (let i = 0; i < 5; i++) {
    await put(store, `k${i}`, 'x');
    await textOf(store, `k${i}`);
    await store.create({ key: `k${i}` }).catch(() => {});
    await store.open('none').catch(() => {});
    await store.create({ key: 'large', size: 2 ** 52 }).catch(() => {});
    await (await store.create({ key: 'd' })).discard();
    await store.create({ key: 'r' });
    await store.remove('r');
  }
  expect(await open()).toBeLessThanOrEqual(before);
});

/** Seals objects of one repeated byte as fast as it can, and says before and after each what it does. */
const victim = `
import { openStore } from ${JSON.stringify(join(import.meta.dirname, '..', 'index.ts'))};
const store = await openStore({ driver: 'file', name: 'victim', path: process.argv[1] });
for (let i = 0; ; i++) {
  const key = 'k' + i;
  const writer = await store.create({ key, size: 300_000 });
  const bytes = new Uint8Array(100_000).fill(i % 250 + 1);
  await Promise.all([0, 1, 2].map((n) => writer.write(bytes, n * 100_000)));
  process.stdout.write('written ' + key + '\\n');
  await writer.seal(300_000);
  process.stdout.write('sealed ' + key + '\\n');
  await writer[Symbol.asyncDispose]();
}`;

test('kill -9 at any moment loses nothing that was said, and what is left can be sealed', async () => {
  const { path } = await given();
  for (let round = 0; round < 6; round++) {
    const folder = join(path, `round${round}`);
    const child = spawn(process.execPath, ['--input-type=module', '-e', victim, folder], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const said = await killAfter(child, 20 + round * 13);
    const store = await openStore({ driver: 'file', name: 'after', path: folder });
    for (const [key, word] of said) {
      const found = await store.stat(key);
      if (word === 'sealed') expect(found.kind).toBe('sealed');
      if (found.kind === 'writing') {
        await using writer = await store.reopen(key);
        await writer.seal(300_000);
      }
      const fill = (Number(key.slice(1)) % 250) + 1;
      expect(await textOf(store, key)).toBe(Buffer.alloc(300_000, fill).toString());
    }
    expect(said.size).toBeGreaterThan(5);
    await store.close();
  }
});

/** Kills it after so many lines; what it said last of each key. */
async function killAfter(child: ChildProcess, lines: number): Promise<ReadonlyMap<string, string>> {
  const said = new Map<string, string>();
  if (child.stdout === null) throw new Error('no stdout');
  const gone = once(child, 'exit');
  let count = 0;
  for await (const line of createInterface({ input: child.stdout })) {
    const [word = '', key = ''] = line.split(' ');
    said.set(key, word);
    count++;
    if (count === lines) child.kill('SIGKILL');
  }
  await gone;
  return said;
}
