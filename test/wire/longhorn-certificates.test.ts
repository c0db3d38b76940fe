import { connect, type PeerCertificate } from 'node:tls';
import { type Client, credentials, Server } from '@grpc/grpc-js';
import { expect, test } from 'vitest';
import { RenewedCredentials } from '../../src/doors/longhorn/grpc-credentials.ts';
import { backingImageManagerService } from '../../src/doors/longhorn/grpc-service.ts';
import { openUploadServer, type UploadServerTls } from '../../src/doors/longhorn/upload-server.ts';
import { issueKeys, openAuthority } from '../../src/host/authority.ts';
import type { UploadServerWire } from '../../src/service/host/upload-server-wire.ts';

const authority = await openAuthority(
  (make) => make(),
  () => new Date(),
);

async function keysOf(kind: 'agent' | 'control', id: string): Promise<UploadServerTls> {
  const keys = await issueKeys(authority, { kind, id }, ['127.0.0.1']);
  return { ...keys, ca: authority.certificate, mayConnect: ({ unit }) => unit === 'control' };
}

/** The certificate that is shown at the port. */
function shownAt(port: number, { key, cert, ca }: UploadServerTls): Promise<PeerCertificate> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host: '127.0.0.1', port, key, cert, ca, ALPNProtocols: ['h2', 'http/1.1'] }, () => {
      resolve(socket.getPeerCertificate());
      socket.destroy();
    });
    socket.once('error', reject);
  });
}

test('an upload server went on with the certificate that it started with', async () => {
  const control = await keysOf('control', 'c');
  let keys = await keysOf('agent', 'first');
  const settings = { host: '127.0.0.1', port: 0, tls: () => keys, log: { warn: () => {} } };
  const refuse = () => Promise.reject(new Error('not asked for here'));
  const wire: UploadServerWire = {
    start: refuse,
    prepareChunk: refuse,
    uploadChunk: refuse,
    coalesceChunk: refuse,
    upload: refuse,
    close: refuse,
  };
  const server = await openUploadServer(wire, settings);
  expect((await shownAt(server.port, control)).subject.CN).toBe('first');
  keys = await keysOf('agent', 'second');
  expect((await shownAt(server.port, control)).subject.CN).toBe('second');
  await server.close();
});

test('gRPC went on with the certificate that it started with', async () => {
  const control = await keysOf('control', 'c');
  const own = new RenewedCredentials(await keysOf('agent', 'first'));
  const server = new Server();
  const Service = backingImageManagerService();
  server.addService(Service.service, {
    VersionGet: (_call: unknown, callback: (error: null, answer: object) => void) => callback(null, { version: 'x' }),
  });
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync('127.0.0.1:0', own, (error, bound) => (error ? reject(error) : resolve(bound)));
  });
  const version = async ({ key, cert, ca }: Pick<UploadServerTls, 'key' | 'cert' | 'ca'>) => {
    const client = new Service(
      `127.0.0.1:${port}`,
      credentials.createSsl(Buffer.from(ca), Buffer.from(key), Buffer.from(cert)),
    );
    try {
      return await versionOf(client);
    } finally {
      client.close();
    }
  };
  expect((await shownAt(port, control)).subject.CN).toBe('first');
  own.renew(await keysOf('agent', 'second'));
  expect((await shownAt(port, control)).subject.CN).toBe('second');
  expect(await version(control)).toMatchObject({ version: 'x' });
  const strange = await openAuthority(
    (make) => make(),
    () => new Date(),
  );
  const stranger = await issueKeys(strange, { kind: 'control', id: 'c' }, ['127.0.0.1']);
  await expect(version({ ...stranger, ca: authority.certificate })).rejects.toThrow();
  server.forceShutdown();
});

function versionOf(client: Client): Promise<unknown> {
  return new Promise((resolve, reject) => {
    const call: unknown = Reflect.get(client, 'VersionGet');
    if (typeof call !== 'function') throw new Error('no VersionGet');
    const deadline = { deadline: Date.now() + 20_000 };
    Reflect.apply(call, client, [
      {},
      deadline,
      (error: Error | null, answer: unknown) => (error ? reject(error) : resolve(answer)),
    ]);
  });
}
