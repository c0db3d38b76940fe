import { once } from 'node:events';
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { type AddressInfo, connect as connectTcp } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect } from 'node:tls';
import { pino } from 'pino';
import { expect, test } from 'vitest';
import { HawserError } from '../../src/core/errors.ts';
import { createServer } from '../../src/doors/_http/server.ts';
import { ownTlsKeys } from '../../src/host/tls.ts';

test('over TLS, too, a client that sends on after the refusal sees the answer', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'hawser-tls-'));
  await mkdir(join(folder, 'keys'));
  const tls = await ownTlsKeys((...parts) => join(folder, ...parts), new Date());
  const app = createServer({ log: pino({ level: 'silent' }), randomId: () => 'id', tls });
  app.removeAllContentTypeParsers();
  app.addContentTypeParser('*', (_request, _payload, done) => done(null));
  app.put('/bytes', { config: { ownsBody: true } as object }, async () => {
    throw new HawserError('store-full', 'The store has 3 bytes left.');
  });
  try {
    await app.listen({ host: '127.0.0.1', port: 0 });
    const { port } = app.server.address() as AddressInfo;
    const socket = connect({
      socket: connectTcp({ host: '127.0.0.1', port, allowHalfOpen: true }),
      host: '127.0.0.1',
      ca: tls.cert,
    });
    await once(socket, 'secureConnect');
    let text = '';
    socket.on('data', (chunk: Buffer) => {
      text += chunk.toString();
    });
    const ended = once(socket, 'end');
    socket.write('PUT /bytes HTTP/1.1\r\nHost: a\r\nContent-Length: 100000000\r\n\r\n');
    const chunk = Buffer.alloc(1024 * 1024);
    for (let i = 0; i < 16; i++) if (!socket.write(chunk)) await once(socket, 'drain');
    await ended;
    expect(text).toMatch(/^HTTP\/1\.1 507 [\s\S]*connection: close[\s\S]*store-full/i);
    expect(socket.errored).toBeNull();
    socket.destroy();
  } finally {
    await app.close();
    await rm(folder, { recursive: true });
  }
});
