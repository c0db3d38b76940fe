import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { expect, onTestFinished } from 'vitest';
import { testWith } from '../../../test/needs.ts';
import { openNbdDevice } from './device.ts';
import type { NbdAddress } from './transport.ts';

const code = (wanted: string) => expect.objectContaining({ name: 'HawserError', code: wanted });
const content = randomBytes(3 * 2 ** 20 + 512);

async function newFolder(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'hawser-nbd-'));
  onTestFinished(() => rm(folder, { recursive: true, force: true }));
  return folder;
}

/** A server that writes `folder/pid` once it listens. */
async function serving(folder: string, program: string, ...args: readonly string[]): Promise<ChildProcess> {
  const child = spawn(program, [...args], { cwd: folder, stdio: 'inherit' });
  onTestFinished(async () => {
    if (child.exitCode !== null || child.signalCode !== null) return;
    child.kill();
    await once(child, 'exit');
  });
  while (!existsSync(join(folder, 'pid'))) {
    if (child.exitCode !== null) throw new Error(`${program} did not start`);
    await wait(10);
  }
  return child;
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  return typeof address === 'object' && address !== null ? address.port : 0;
}

function openssl(folder: string, ...args: readonly string[]): void {
  execFileSync('openssl', [...args], { cwd: folder, stdio: 'ignore' });
}

/** As QEMU and nbdkit want their folder of certificates. */
function makeCertificates(folder: string): void {
  const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes'];
  openssl(
    folder,
    'req',
    '-x509',
    ...key,
    '-keyout',
    'ca-key.pem',
    '-out',
    'ca-cert.pem',
    '-subj',
    '/CN=test ca',
    '-days',
    '9',
  );
  for (const name of ['server', 'client']) {
    openssl(
      folder,
      'req',
      ...key,
      '-keyout',
      `${name}-key.pem`,
      '-out',
      `${name}.csr`,
      '-subj',
      `/CN=${name}`,
      '-addext',
      'subjectAltName=DNS:localhost,IP:127.0.0.1',
    );
    openssl(
      folder,
      'x509',
      '-req',
      '-in',
      `${name}.csr`,
      '-CA',
      'ca-cert.pem',
      '-CAkey',
      'ca-key.pem',
      '-CAcreateserial',
      '-copy_extensions',
      'copy',
      '-out',
      `${name}-cert.pem`,
      '-days',
      '9',
    );
  }
}

testWith('nbdkit')('TLS with certificates of both sides; without them, or with a wrong name, nothing', async () => {
  const folder = await newFolder();
  makeCertificates(folder);
  await writeFile(join(folder, 'file'), content);
  const port = await freePort();
  const tlsArgs = ['--tls=require', `--tls-certificates=${folder}`, '--tls-verify-peer'];
  await serving(
    folder,
    'nbdkit',
    '-f',
    '-i',
    '127.0.0.1',
    '-p',
    String(port),
    '-P',
    join(folder, 'pid'),
    ...tlsArgs,
    'file',
    join(folder, 'file'),
  );
  const address: NbdAddress = { kind: 'tcp', host: '127.0.0.1', port };
  const pem = (name: string) => readFile(join(folder, `${name}.pem`), 'utf8');
  const tls = { ca: await pem('ca-cert'), cert: await pem('client-cert'), key: await pem('client-key') };
  {
    await using device = await openNbdDevice({ address, tls });
    const into = Buffer.alloc(content.length);
    await device.read(into, 0);
    expect(into.equals(content)).toBe(true);
    const other = randomBytes(2 * 2 ** 20);
    await device.write(other, 4096);
    await device.read(into.subarray(0, other.length), 4096);
    expect(into.subarray(0, other.length).equals(other)).toBe(true);
  }
  await expect(openNbdDevice({ address })).rejects.toEqual(code('unsupported'));
  await expect(openNbdDevice({ address, tls: { ...tls, serverName: 'elsewhere' } })).rejects.toEqual(
    code('connection-lost'),
  );
  await expect(openNbdDevice({ address, tls: { ca: tls.cert } })).rejects.toEqual(code('connection-lost'));
  const nobody = openNbdDevice({ address, tls: { ca: tls.ca } }).then((device) => device.read(Buffer.alloc(512), 0));
  await expect(nobody).rejects.toEqual(code('connection-lost'));
});

testWith('qemu-nbd', 'qemu-img')(
  'a dirty bitmap whose name nobody knows, extents of 100 GiB, several connections',
  async () => {
    const folder = await newFolder();
    const image = join(folder, 'image');
    execFileSync('qemu-img', ['create', '-q', '-f', 'qcow2', image, '100G']);
    execFileSync('qemu-img', ['bitmap', '--add', '-g', '65536', image, 'some']);
    const socket = join(folder, 's');
    await serving(
      folder,
      'qemu-nbd',
      `--socket=${socket}`,
      '-f',
      'qcow2',
      '-t',
      '-e',
      '4',
      '-B',
      'some',
      `--pid-file=${join(folder, 'pid')}`,
      image,
    );
    const address: NbdAddress = { kind: 'unix', path: socket };
    await using first = await openNbdDevice({ address, bitmap: true });
    await using second = await openNbdDevice({ address });
    const at = 70 * 2 ** 30;
    await second.write(content, at);
    await second.flush();
    const into = Buffer.alloc(content.length);
    await first.read(into, at);
    expect(into.equals(content)).toBe(true);
    const data = [];
    for await (const extent of first.extents({ offset: 0, length: first.size })) if (!extent.zero) data.push(extent);
    // How much of its last cluster the filesystem below gave space to is not ours to say.
    expect(data).toEqual([{ offset: at, length: expect.any(Number), zero: false, hole: false }]);
    expect(data[0]?.length).toBeGreaterThanOrEqual(content.length);
    expect(data[0]?.length).toBeLessThanOrEqual(3 * 2 ** 20 + 65536);
    const dirty = [];
    for await (const extent of first.dirty?.({ offset: 0, length: first.size }) ?? []) dirty.push(extent);
    expect(dirty).toEqual([
      { offset: 0, length: at, dirty: false },
      { offset: at, length: 3 * 2 ** 20 + 65536, dirty: true },
      { offset: at + 3 * 2 ** 20 + 65536, length: first.size - at - 3 * 2 ** 20 - 65536, dirty: false },
    ]);
  },
);

testWith('nbdkit', 'nbdcopy')('nbdinfo and nbdcopy see what we wrote', async () => {
  const folder = await newFolder();
  const socket = join(folder, 's');
  await serving(folder, 'nbdkit', '-f', '-U', socket, '-P', join(folder, 'pid'), 'memory', 'size=64M');
  await using device = await openNbdDevice({ address: { kind: 'unix', path: socket } });
  await device.write(content, 2 ** 20 + 1);
  await device.zero({ offset: 2 * 2 ** 20, length: 2 ** 20 });
  await device.flush();
  const uri = `nbd+unix:///?socket=${socket}`;
  const map: unknown = JSON.parse(execFileSync('nbdinfo', ['--map', '--json', uri], { encoding: 'utf8' }));
  const zeros = (map as { offset: number; length: number; type: number }[]).filter(({ type }) => type === 3);
  const ours = [];
  for await (const extent of device.extents({ offset: 0, length: device.size })) if (extent.zero) ours.push(extent);
  expect(ours.map(({ offset, length }) => [offset, length])).toEqual(
    zeros.map(({ offset, length }) => [offset, length]),
  );
  execFileSync('nbdcopy', [uri, join(folder, 'copy')]);
  const wanted = Buffer.alloc(64 * 2 ** 20);
  content.copy(wanted, 2 ** 20 + 1);
  wanted.fill(0, 2 * 2 ** 20, 3 * 2 ** 20);
  expect((await readFile(join(folder, 'copy'))).equals(wanted)).toBe(true);
});

testWith('nbdkit', 'nbdcopy')('more connections while many calls are under way, and only then', async () => {
  const folder = await newFolder();
  const socket = join(folder, 's');
  const log = join(folder, 'log');
  const filters = ['--filter=multi-conn', '--filter=log', 'memory', 'size=64M', `logfile=${log}`];
  await serving(folder, 'nbdkit', '-f', '-U', socket, '-P', join(folder, 'pid'), ...filters);
  const address: NbdAddress = { kind: 'unix', path: socket };
  const bytes = randomBytes(64 * 2 ** 20);
  const piece = (i: number) => bytes.subarray(i * 2 ** 20, (i + 1) * 2 ** 20);
  const connections = async () => (await readFile(log, 'utf8')).match(/ Connect /g)?.length ?? 0;
  await using device = await openNbdDevice({ address });
  for (let i = 0; i < 4; i++) await device.write(piece(i), i * 2 ** 20);
  expect(await connections()).toBe(1);
  for (let round = 0; (await connections()) < 4 || round < 4; round++) {
    await Promise.all(Array.from({ length: 64 }, (_, i) => device.write(piece(i), i * 2 ** 20)));
  }
  await device.flush();
  expect(await connections()).toBe(4);
  const read = Buffer.alloc(bytes.length);
  await Promise.all(
    Array.from({ length: 64 }, (_, i) => device.read(read.subarray(i * 2 ** 20, (i + 1) * 2 ** 20), i * 2 ** 20)),
  );
  expect(read.equals(bytes)).toBe(true);
});

testWith('nbdkit')('a server that is killed in the middle: connection-lost for all that is under way', async () => {
  const folder = await newFolder();
  const socket = join(folder, 's');
  const kit = await serving(
    folder,
    'nbdkit',
    '-f',
    '-U',
    socket,
    '-P',
    join(folder, 'pid'),
    '--filter=delay',
    'memory',
    'size=64M',
    'rdelay=5',
    'wdelay=5',
  );
  await using device = await openNbdDevice({ address: { kind: 'unix', path: socket } });
  const under = [
    device.read(Buffer.alloc(5 * 2 ** 20), 0),
    device.write(content, 0),
    device.zero({ offset: 0, length: 512 }),
  ];
  kit.kill('SIGKILL');
  for (const each of await Promise.allSettled(under)) expect(each).toMatchObject({ reason: code('connection-lost') });
});
