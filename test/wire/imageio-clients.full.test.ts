import { execFile } from 'node:child_process';
import { randomBytes, randomUUID } from 'node:crypto';
import { open, readFile, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect } from 'vitest';
import { issueKeys, openAuthority } from '../../src/host/authority.ts';
import { testWith } from '../needs.ts';
import { type Stage, startStage } from './imageio-stage.ts';

const run = promisify(execFile);
const MiB = 1024 * 1024;
let stage: Stage;
let ca: string;
/** Dense, holes, odd data and a tail that is no whole block. */
let content: Buffer;

beforeAll(async () => {
  stage = await startStage({}, 24);
  ca = join(stage.folder, 'data', 'keys', 'server.crt');
  content = Buffer.alloc(48 * MiB + 512);
  randomBytes(20 * MiB).copy(content, 0);
  randomBytes(3 * MiB).copy(content, 30 * MiB + 12_345);
  randomBytes(512).copy(content, 48 * MiB);
});
afterAll(() => stage[Symbol.asyncDispose]());

async function image(bytes: Buffer | undefined, values: Readonly<Record<string, unknown>> = {}) {
  const path = join(stage.images, `${randomUUID()}.img`);
  await writeFile(path, '');
  await truncate(path, content.length);
  if (bytes !== undefined) await writeFile(path, bytes);
  const id = await stage.ticket({
    url: `file://${path}`,
    size: content.length,
    sparse: true,
    ops: ['write'],
    ...values,
  });
  return { id, path };
}

const same = async (path: string, wanted: Buffer) => (await readFile(path)).equals(wanted);
const temporary = () => join(stage.folder, randomUUID());

describe('curl', () => {
  testWith('curl')('uploads, downloads, resumes; https with the certificate of the data folder', async () => {
    const source = temporary();
    await writeFile(source, content);
    for (const [url, more] of [
      [stage.https, ['--cacert', ca]],
      [stage.http, []],
      ['http://localhost', ['--unix-socket', stage.unix]],
    ] as const) {
      const { id, path } = await image(undefined);
      await run('curl', ['-fsS', ...more, '-T', source, `${url}/images/${id}`]);
      expect(await same(path, content)).toBe(true);
      const out = temporary();
      await run('curl', ['-fsS', ...more, '-r', '0-999999', '-o', out, `${url}/images/${id}`]);
      await run('curl', ['-fsS', ...more, '-C', '-', '-o', out, `${url}/images/${id}`]);
      expect(await same(out, content)).toBe(true);
    }
  });
});

describe('QEMU', () => {
  const nodes = (url: string, driver = 'raw') => {
    const scheme = url.startsWith('https') ? 'https' : 'http';
    const tls = scheme === 'https' ? { sslverify: false } : {};
    return `json:${JSON.stringify({ driver, file: { driver: scheme, url, ...tls } })}`;
  };

  testWith('qemu-curl')('reads a raw image: info, convert, compare', async () => {
    const { id, path } = await image(content, { ops: ['read'] });
    for (const base of [stage.http, stage.https]) {
      const url = nodes(`${base}/images/${id}`);
      const { stdout } = await run('qemu-img', ['info', '--output=json', url]);
      expect(JSON.parse(stdout)['virtual-size']).toBe(content.length);
      const out = temporary();
      // With several requests at once QEMU 7.2's curl driver waits for ever now and then, for nginx's answers too.
      await run('qemu-img', ['convert', '-m', '1', '-O', 'raw', url, out]);
      expect(await same(out, content)).toBe(true);
      await run('qemu-img', ['compare', '-F', 'raw', url, path]);
    }
    await run('qemu-img', ['info', `${stage.http}/images/${id}`]);
  });

  testWith('qemu-curl')('reads a qcow2 image by its bytes', async () => {
    const raw = temporary();
    await writeFile(raw, content);
    const { id, path } = await image(undefined, { ops: ['read'], size: 2 ** 40 });
    await run('qemu-img', ['convert', '-m', '1', '-O', 'qcow2', raw, path]);
    await run('qemu-img', ['compare', '-F', 'raw', nodes(`${stage.https}/images/${id}`, 'qcow2'), raw]);
  });

  testWith('qemu-curl', 'qemu-nbd')(
    'sees the content of a qcow2 image with a backing chain through its ticket',
    async () => {
      const [base, top, raw] = ['base.qcow2', 'top.qcow2', 'flat.raw'].map((name) => join(stage.images, name));
      if (base === undefined || top === undefined || raw === undefined) throw new Error('no names');
      await writeFile(raw, content);
      await run('qemu-img', ['convert', '-m', '1', '-O', 'qcow2', raw, base]);
      await run('qemu-img', ['create', '-f', 'qcow2', '-b', base, '-F', 'qcow2', top]);
      await run('qemu-io', ['-c', 'write -P 7 1M 2M', top]);
      const wanted = Buffer.from(content).fill(7, MiB, 3 * MiB);
      const values = { url: `file://${top}`, format: 'qcow2', ops: ['write'] };
      const refused = await stage.ticket(values);
      expect((await stage.call({ to: stage.http, path: `/images/${refused}` })).status).toBe(500);
      const id = await stage.ticket({ ...values, backing_chain: true, size: content.length });
      const answer = await stage.call({ to: stage.http, path: `/images/${id}` });
      expect(answer.body.equals(wanted)).toBe(true);
      const put = {
        to: stage.http,
        method: 'PUT',
        path: `/images/${id}`,
        headers: { 'content-range': 'bytes 40000000-*/*' },
        body: randomBytes(5 * MiB + 3),
      };
      put.body.copy(wanted, 40_000_000);
      expect((await stage.call(put)).status).toBe(200);
      const zero = { to: stage.http, method: 'PATCH', path: `/images/${id}` };
      expect((await stage.call({ ...zero, body: '{"op": "zero", "size": 2097152, "flush": true}' })).status).toBe(200);
      wanted.fill(0, 0, 2 * MiB);
      const extents = JSON.parse((await stage.call({ to: stage.http, path: `/images/${id}/extents` })).text);
      expect(extents[0]).toMatchObject({ start: 0, zero: true });
      expect(extents.length).toBeGreaterThan(3);
      expect((await stage.call({ to: stage.control, method: 'DELETE', path: `/tickets/${id}` })).status).toBe(204);
      const out = temporary();
      await run('qemu-img', ['convert', '-m', '1', '-O', 'raw', top, out]);
      expect(await same(out, wanted)).toBe(true);
    },
  );
});

describe('NBD', () => {
  testWith('nbdkit', 'nbdcopy')(
    'a ticket to an NBD server reads, writes, zeroes and tells extents; nbdcopy sees the same',
    async () => {
      const socket = join(stage.folder, 'memory.sock');
      const { spawn } = await import('node:child_process');
      const server = spawn('nbdkit', ['-f', '-U', socket, 'memory', String(content.length)], { stdio: 'ignore' });
      try {
        const id = await stage.ticket({ url: `nbd:unix:${socket}`, size: content.length });
        const put = { to: stage.https, method: 'PUT', path: `/images/${id}`, body: content };
        for (;;) {
          const { status } = await stage.call({ to: stage.http, method: 'OPTIONS', path: `/images/${id}` });
          if (status === 200) break; // it listens
        }
        expect((await stage.call(put)).status).toBe(200);
        const zero = { to: stage.http, method: 'PATCH', path: `/images/${id}` };
        expect((await stage.call({ ...zero, body: '{"op": "zero", "size": 4194304}' })).status).toBe(200);
        const wanted = Buffer.from(content).fill(0, 0, 4 * MiB);
        expect((await stage.call({ to: stage.unix, path: `/images/${id}` })).body.equals(wanted)).toBe(true);
        const extents = JSON.parse((await stage.call({ to: stage.http, path: `/images/${id}/extents` })).text);
        expect(extents[0]).toMatchObject({ start: 0, zero: true });
        const options = await stage.call({ to: stage.http, method: 'OPTIONS', path: `/images/${id}` });
        expect(JSON.parse(options.text).max_writers).toBe(8);
        const out = temporary();
        await run('nbdcopy', [`nbd+unix:///?socket=${socket}`, out]);
        expect(await same(out, wanted)).toBe(true);
        randomBytes(MiB).copy(wanted, 7 * MiB);
        await writeFile(out, wanted);
        await run('nbdcopy', [out, `nbd+unix:///?socket=${socket}`]);
        expect((await stage.call({ to: stage.http, path: `/images/${id}` })).body.equals(wanted)).toBe(true);
      } finally {
        const gone = new Promise((resolve) => server.once('exit', resolve));
        server.kill();
        await gone;
      }
    },
  );
});

describe('what changed', () => {
  testWith('qemu-nbd')('is told by the bitmap that an NBD server has, named or not', async () => {
    const [image_, socket] = [join(stage.folder, 'dirty.qcow2'), join(stage.folder, 'dirty.sock')];
    await run('qemu-img', ['create', '-f', 'qcow2', image_, '8M']);
    await run('qemu-img', ['bitmap', '--add', '-g', '65536', image_, 'b0']);
    await run('qemu-io', ['-c', 'write -P 3 1M 64k', '-c', 'write -z 2M 64k', image_]);
    const { spawn } = await import('node:child_process');
    const server = spawn(
      'qemu-nbd',
      [`--socket=${socket}`, '--format=qcow2', '-B', 'b0', '-r', '-t', '-e', '4', image_],
      {
        stdio: 'ignore',
      },
    );
    try {
      const values = { url: `nbd:unix:${socket}`, size: 8 * MiB, ops: ['read'], dirty: true };
      for (const id of [await stage.ticket(values), await stage.ticket({ ...values, bitmap: 'b0' })]) {
        const extents = () => stage.call({ to: stage.http, path: `/images/${id}/extents?context=dirty` });
        let answer = await extents();
        while (answer.status === 500) answer = await extents(); // it does not listen yet
        expect(JSON.parse(answer.text)).toEqual([
          { start: 0, length: MiB, dirty: false, zero: true },
          { start: MiB, length: 65_536, dirty: true, zero: false },
          { start: MiB + 65_536, length: MiB - 65_536, dirty: false, zero: true },
          { start: 2 * MiB, length: 65_536, dirty: true, zero: true },
          { start: 2 * MiB + 65_536, length: 6 * MiB - 65_536, dirty: false, zero: true },
        ]);
      }
    } finally {
      const gone = new Promise((resolve) => server.once('exit', resolve));
      server.kill();
      await gone;
    }
  });
});

describe('a block device', () => {
  testWith('loop')('is read and written as it is', async () => {
    const backing = temporary();
    const size = 48 * MiB;
    await writeFile(backing, '');
    await truncate(backing, size);
    const loop = (await run('losetup', ['-f', '--show', backing])).stdout.trim();
    const own = await startStage({ roots: [loop] });
    try {
      const id = await own.ticket({ url: `file://${loop}`, size });
      const body = content.subarray(0, 20 * MiB);
      const headers = { 'content-range': 'bytes 777-*/*' };
      expect((await own.call({ to: own.http, method: 'PUT', path: `/images/${id}`, headers, body })).status).toBe(200);
      const wanted = Buffer.alloc(size);
      body.copy(wanted, 777);
      const zero = { to: own.http, method: 'PATCH', path: `/images/${id}` };
      expect(
        (await own.call({ ...zero, body: '{"op": "zero", "offset": 1000, "size": 1000000, "flush": true}' })).status,
      ).toBe(200);
      wanted.fill(0, 1000, 1_001_000);
      expect((await own.call({ to: own.http, path: `/images/${id}` })).body.equals(wanted)).toBe(true);
      const options = await own.call({ to: own.http, method: 'OPTIONS', path: `/images/${id}` });
      expect(JSON.parse(options.text)).toMatchObject({ max_writers: 8, size });
      const file = await open(loop, 'r');
      const bytes = Buffer.alloc(size);
      await file.read(bytes, 0, size, 0);
      await file.close();
      expect(bytes.equals(wanted)).toBe(true);
    } finally {
      await own[Symbol.asyncDispose]();
      await run('losetup', ['-d', loop]);
    }
  });
});

describe('control over TCP', () => {
  testWith('curl')('takes a client with a certificate of the authority, and nobody else', async () => {
    const authority = await openAuthority(
      (make) => make(),
      () => new Date(),
    );
    const [ours, theirs] = [
      authority,
      await openAuthority(
        (make) => make(),
        () => new Date(),
      ),
    ];
    await writeFile(join(stage.folder, 'ca.pem'), authority.certificate);
    const keysOf = async (name: string, from: typeof authority) => {
      const { key, cert } = await issueKeys(from, { kind: 'control', id: name }, []);
      const files = [join(stage.folder, `${name}.crt`), join(stage.folder, `${name}.key`)] as const;
      await writeFile(files[0], cert);
      await writeFile(files[1], key);
      return ['--cert', files[0], '--key', files[1]];
    };
    const own = await startStage({ controlHttps: '127.0.0.1:0', controlCa: join(stage.folder, 'ca.pem') });
    try {
      const url = `${own.addresses.controlHttps}/tickets`;
      const { stdout } = await run('curl', ['-fsSk', ...(await keysOf('friend', ours)), url]);
      expect(JSON.parse(stdout)).toEqual([]);
      await expect(run('curl', ['-fsSk', url])).rejects.toThrow(/Command failed/);
      await expect(run('curl', ['-fsSk', ...(await keysOf('stranger', theirs)), url])).rejects.toThrow(
        /Command failed/,
      );
    } finally {
      await own[Symbol.asyncDispose]();
    }
  });
});
