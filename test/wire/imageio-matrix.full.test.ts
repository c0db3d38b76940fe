import { execFile, spawn } from 'node:child_process';
import { randomBytes, randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { chmod, open, rename, stat, truncate, writeFile } from 'node:fs/promises';
import { connect, createServer } from 'node:net';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect } from 'vitest';
import { testWith } from '../needs.ts';
import { type CliResult, runCli } from './cli.ts';
import { type Stage, startStage } from './imageio-stage.ts';
import { makeSparseFile } from './sparse-file.ts';

/**
 * Each kind of image behind a ticket, with each client that people have: curl, qemu-img, nbdcopy and our own. What
 * was written is read back past the door by QEMU's tools or as the file that it is.
 */
const run = promisify(execFile);
const MiB = 1024 * 1024;
const GiB = 1024 * MiB;
const SIZE = 40 * MiB;
let stage: Stage;
let ca: string;

beforeAll(async () => {
  // Without the unix socket: a client on this machine would take that instead.
  stage = await startStage({ unix: '' }, 24);
  ca = join(stage.folder, 'data', 'keys', 'server.crt');
});
afterAll(() => stage[Symbol.asyncDispose]());

const temporary = () => join(stage.folder, `${randomUUID()}.raw`);

/** Data, holes and zeros; other bytes each time. */
async function sample(): Promise<string> {
  const path = temporary();
  await using file = await open(path, 'w');
  await file.truncate(SIZE);
  await file.write(randomBytes(11 * MiB), 0, 11 * MiB, 0);
  await file.write(Buffer.alloc(4 * MiB), 0, 4 * MiB, 16 * MiB);
  await file.write(randomBytes(3 * MiB), 0, 3 * MiB, 30 * MiB + 4096);
  await file.write(randomBytes(512), 0, 512, SIZE - 512);
  return path;
}

function hawser(...args: string[]): Promise<CliResult> {
  const nobody = { server: 'http://127.0.0.1:9', token: 'none', cwd: stage.folder };
  return runCli(args, { ...nobody, env: { HAWSER_CA: ca } });
}

async function mustWork(result: Promise<CliResult>): Promise<CliResult> {
  const done = await result;
  expect(done.stderr, `exit code ${done.code}`).toContain('verified');
  expect(done.code).toBe(0);
  return done;
}

const sameBytes = (one: string, other: string) => run('cmp', [one, other]);

interface Kind extends AsyncDisposable {
  /** Of a ticket to write it, and of one to read it. */
  readonly ticket: Readonly<Record<string, unknown>>;
  /** Its content as a raw file, past the door; nothing of ours has it open. */
  content(): Promise<string>;
  readonly stage?: Stage;
}

async function rawFile(): Promise<Kind> {
  const path = join(stage.images, randomUUID());
  await writeFile(path, randomBytes(SIZE));
  return { ticket: { url: `file://${path}` }, content: async () => path, [Symbol.asyncDispose]: async () => {} };
}

async function convertedTo(path: string): Promise<string> {
  const raw = temporary();
  await run('qemu-img', ['convert', '-m', '1', '-f', 'qcow2', '-O', 'raw', path, raw]);
  return raw;
}

async function qcow2(): Promise<Kind> {
  const path = join(stage.images, randomUUID());
  await run('qemu-img', ['create', '-q', '-f', 'qcow2', path, String(SIZE)]);
  const ticket = { url: `file://${path}`, format: 'qcow2' };
  return { ticket, content: () => convertedTo(path), [Symbol.asyncDispose]: async () => {} };
}

/** Three files; all data of the lowest shows until something is written over it. */
async function chain(): Promise<Kind> {
  const [base, middle, top] = ['base', 'middle', 'top'].map((name) => join(stage.images, `${name}-${randomUUID()}`));
  if (base === undefined || middle === undefined || top === undefined) throw new Error('no names');
  await run('qemu-img', ['convert', '-m', '1', '-f', 'raw', '-O', 'qcow2', await sample(), base]);
  await run('qemu-img', ['create', '-q', '-f', 'qcow2', '-b', base, '-F', 'qcow2', middle]);
  await run('qemu-io', ['-f', 'qcow2', '-c', 'write -q -P 7 1M 9M', middle]);
  await run('qemu-img', ['create', '-q', '-f', 'qcow2', '-b', middle, '-F', 'qcow2', top]);
  const ticket = { url: `file://${top}`, format: 'qcow2', backing_chain: true };
  return { ticket, content: () => convertedTo(top), [Symbol.asyncDispose]: async () => {} };
}

/** A qcow2 that somebody else's qemu-nbd serves; nbdcopy reads it. */
async function nbdExport(): Promise<Kind> {
  const [path, socket] = [join(stage.images, randomUUID()), join(stage.folder, `${randomUUID().slice(0, 8)}.sock`)];
  await run('qemu-img', ['create', '-q', '-f', 'qcow2', path, String(SIZE)]);
  const flags = ['--format=qcow2', '--persistent', '--shared=16', '--discard=unmap', '--detect-zeroes=unmap'];
  const server = spawn('qemu-nbd', [`--socket=${socket}`, ...flags, path], { stdio: 'ignore' });
  const gone = once(server, 'exit');
  while (!existsSync(socket) && server.exitCode === null) await delay(20);
  return {
    ticket: { url: `nbd:unix:${socket}` },
    async content() {
      const raw = temporary();
      await run('nbdcopy', [`nbd+unix:///?socket=${socket}`, raw]);
      return raw;
    },
    async [Symbol.asyncDispose]() {
      server.kill();
      await gone;
    },
  };
}

async function blockDevice(): Promise<Kind> {
  const backing = temporary();
  await writeFile(backing, randomBytes(SIZE));
  const loop = (await run('losetup', ['-f', '--show', backing])).stdout.trim();
  const own = await startStage({ roots: [loop], unix: '' }, 24);
  return {
    ticket: { url: `file://${loop}` },
    stage: own,
    content: async () => loop,
    async [Symbol.asyncDispose]() {
      await own[Symbol.asyncDispose]();
      await run('losetup', ['-d', loop]);
    },
  };
}

const kinds = [
  ['a raw file', rawFile, testWith('curl', 'qemu-curl')],
  ['a qcow2 image', qcow2, testWith('curl', 'qemu-curl', 'qemu-nbd')],
  ['a qcow2 image with a backing chain', chain, testWith('curl', 'qemu-curl', 'qemu-nbd')],
  ['an NBD export', nbdExport, testWith('curl', 'qemu-curl', 'qemu-nbd', 'nbdcopy')],
  ['a block device', blockDevice, testWith('curl', 'qemu-curl', 'loop')],
] as const;

describe('what each client writes and reads', () => {
  for (const [name, make, test] of kinds) {
    test(name, async () => {
      await using kind = await make();
      const on = kind.stage ?? stage;
      const env = { ca: join(on.folder, 'data', 'keys', 'server.crt') };
      const open = (ops: readonly string[]) => on.ticket({ size: SIZE, sparse: true, ...kind.ticket, ops });
      const close = async (id: string) =>
        expect((await on.call({ to: on.control, method: 'DELETE', path: `/tickets/${id}` })).status).toBe(204);

      const [first, second] = [await sample(), await sample()];
      const byCurl = await open(['write']);
      await run('curl', ['-fsS', '--cacert', env.ca, '-T', first, `${on.https}/images/${byCurl}`]);
      await close(byCurl);
      await sameBytes(first, await kind.content());

      for (const [base, source] of [
        [on.http, second],
        [on.https, first],
      ] as const) {
        const id = await open(['write']);
        await mustWork(hawser('upload', source, `${base}/images/${id}`, '--ca', env.ca));
        await close(id);
        await sameBytes(source, await kind.content());
      }

      const id = await open(['read']);
      for (const [base, tls] of [
        [on.http, {}],
        [on.https, { sslverify: false }],
      ] as const) {
        const url = `${base}/images/${id}`;
        const [curled, ours, converted] = [temporary(), temporary(), temporary()];
        await run('curl', ['-fsS', '--cacert', env.ca, '-o', curled, url]);
        await sameBytes(curled, first);
        await mustWork(hawser('download', url, ours, '--ca', env.ca));
        await sameBytes(ours, first);
        expect((await stat(ours)).blocks * 512, 'holes stay holes').toBeLessThan(17 * MiB);
        const node = `json:${JSON.stringify({ driver: 'raw', file: { driver: base.split(':')[0], url, ...tls } })}`;
        await run('qemu-img', ['convert', '-m', '1', '-O', 'raw', node, converted]);
        await sameBytes(converted, first);
        const info = await run('qemu-img', ['info', '--output=json', node]);
        expect(JSON.parse(info.stdout)['virtual-size']).toBe(SIZE);
        await run('qemu-img', ['compare', '-F', 'raw', node, first]);
      }
      await close(id);
    });
  }
});

testWith(
  'curl',
  'qemu-nbd',
  'nbdcopy',
)('what qemu-img and nbdcopy write into an NBD export, our client and curl read through its ticket', async () => {
  await using kind = await nbdExport();
  const uri = `nbd+unix:///?socket=${String(kind.ticket.url).slice('nbd:unix:'.length)}`;
  const id = await stage.ticket({ size: SIZE, ...kind.ticket, ops: ['read'] });
  const [first, second] = [await sample(), await sample()];
  await run('qemu-img', ['convert', '-m', '1', '-n', '-f', 'raw', '-O', 'raw', first, uri]);
  const ours = temporary();
  await mustWork(hawser('download', `${stage.https}/images/${id}`, ours));
  await sameBytes(ours, first);
  await run('nbdcopy', [second, uri]);
  const curled = temporary();
  await run('curl', ['-fsS', '-o', curled, `${stage.http}/images/${id}`]);
  await sameBytes(curled, second);
  expect((await stage.call({ to: stage.control, method: 'DELETE', path: `/tickets/${id}` })).status).toBe(204);
});

describe('sizes', () => {
  testWith('qemu-nbd')('20 GiB with little data: up into a file and a qcow2, down again, in seconds', async () => {
    const source = temporary();
    await makeSparseFile(source, 20 * GiB, 96 * MiB);
    const [raw, image] = [join(stage.images, 'sparse.raw'), join(stage.images, 'sparse.qcow2')];
    await writeFile(raw, '');
    await run('qemu-img', ['create', '-q', '-f', 'qcow2', image, '20G']);
    for (const ticket of [{ url: `file://${raw}` }, { url: `file://${image}`, format: 'qcow2' }]) {
      const id = await stage.ticket({ ...ticket, size: 20 * GiB, sparse: true });
      const up = await hawser('upload', source, `${stage.https}/images/${id}`, '--json');
      const done = JSON.parse(up.stdout.trim().split('\n').at(-1) ?? '');
      expect(done).toMatchObject({ event: 'done', verified: true });
      expect(done.sentBytes).toBeLessThan(120 * MiB);
      expect(done.sentBytes + done.zeroBytes).toBe(20 * GiB);
      const out = temporary();
      const down = await mustWork(hawser('download', `${stage.http}/images/${id}`, out));
      // As text it would be 20 GiB; what a client reads of sockets and files is little more than the data.
      expect(down.readBytes).toBeLessThan(400 * MiB);
      await run('qemu-img', ['compare', '-f', 'raw', '-F', 'raw', source, out]);
      expect((await stat(out)).blocks * 512).toBeLessThan(120 * MiB);
      expect((await stat(ticket.url.slice(7))).blocks * 512).toBeLessThan(130 * MiB);
    }
  });

  testWith('curl')('dense: up by our client, down by curl; and the other way', async () => {
    const source = temporary();
    await run('dd', ['if=/dev/urandom', `of=${source}`, 'bs=1M', 'count=256', 'status=none']);
    const path = join(stage.images, 'dense.raw');
    await writeFile(path, '');
    const id = await stage.ticket({ url: `file://${path}`, size: 256 * MiB });
    const url = `${stage.https}/images/${id}`;
    await mustWork(hawser('upload', source, url));
    const [curled, ours] = [temporary(), temporary()];
    await run('curl', ['-fsS', '--cacert', ca, '-o', curled, url]);
    await sameBytes(curled, source);
    await truncate(path, 0);
    await run('curl', ['-fsS', '--cacert', ca, '-T', source, url]);
    await mustWork(hawser('download', url, ours));
    await sameBytes(ours, source);
  });
});

describe('our client', () => {
  testWith('curl')('takes the unix socket of a server on its machine, and the file it names for a ticket', async () => {
    const own = await startStage({}, 24);
    try {
      const source = await sample();
      const path = join(own.images, 'own.raw');
      await writeFile(path, '');
      const id = await own.ticket({ url: `file://${path}`, size: SIZE, sparse: true });
      const trusted = join(own.folder, 'data', 'keys', 'server.crt');
      await using watched = await watch(own.unix);
      await mustWork(hawser('upload', source, `${own.https}/images/${id}`, '--ca', trusted));
      await sameBytes(source, path);
      expect(watched.connections()).toBeGreaterThan(0);
      await mustWork(hawser('download', `unix:${own.unix}:/images/${id}`, temporary()));

      // Anybody may have made a socket there, and would be shown the ticket.
      const before = watched.connections();
      await chmod(own.folder, 0o777);
      const other = await sample();
      await mustWork(hawser('upload', other, `${own.https}/images/${id}`, '--ca', trusted));
      await sameBytes(other, path);
      expect(watched.connections()).toBe(before);
    } finally {
      await own[Symbol.asyncDispose]();
    }
  });

  testWith('curl')('makes, lists, extends and removes tickets at the control socket', async () => {
    const control = ['--control', stage.control];
    const path = join(stage.images, 'made.raw');
    const refused = await hawser('ticket', 'add', path, ...control);
    expect([refused.code, refused.stderr]).toEqual([3, expect.stringContaining('--create --size 10G')]);
    const made = await hawser('ticket', 'add', path, '--create', '--size', '40M', ...control);
    expect(made).toMatchObject({ code: 0, stderr: expect.stringContaining('made.raw (40.0 MiB)') });
    const id = made.stdout.trim();
    expect(id).toMatch(/^[0-9a-f-]{36}$/);
    const source = await sample();
    await mustWork(hawser('upload', source, `${stage.http}/images/${id}`));
    await sameBytes(source, path);
    const listed = await hawser('ticket', 'ls', ...control);
    expect(listed.stdout).toMatch(
      new RegExp(`^${id.slice(0, 8)} +write +40\\.0 MiB +40\\.0 MiB +idle .*made\\.raw$`, 'm'),
    );
    expect((await hawser('ticket', 'extend', id.slice(0, 6), '--timeout', '90', ...control)).code).toBe(0);
    const shown = JSON.parse((await hawser('ticket', 'show', id.slice(0, 6), '--json', ...control)).stdout);
    expect(shown).toMatchObject({ uuid: id, timeout: 3600, sparse: true });
    expect(Date.parse(shown.expires_at) - Date.now()).toBeLessThan(91_000);
    expect((await hawser('ticket', 'rm', `${stage.http}/images/${id}`, ...control)).code).toBe(0);
    const gone = await hawser('upload', source, `${stage.http}/images/${id}`);
    expect([gone.code, gone.stderr]).toEqual([3, expect.not.stringContaining(id)]);
    expect((await hawser('ticket', 'show', id, ...control)).code).toBe(3);
    const outside = await hawser('ticket', 'add', '/etc/passwd', '--read-only', ...control);
    expect([outside.code, outside.stderr]).toEqual([1, expect.stringContaining('imageio.roots')]);
  });
});

/** Stands before a unix socket and counts who comes. */
async function watch(path: string): Promise<AsyncDisposable & { connections(): number }> {
  let connections = 0;
  await rename(path, `${path}.behind`);
  const server = createServer((socket) => {
    connections++;
    const behind = connect(`${path}.behind`);
    for (const end of [socket, behind]) end.on('error', () => {});
    socket.pipe(behind).pipe(socket);
  });
  await new Promise<void>((resolve) => server.listen(path, resolve));
  return {
    connections: () => connections,
    [Symbol.asyncDispose]: () => new Promise((resolve) => server.close(() => resolve())),
  };
}
