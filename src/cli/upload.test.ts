import { createHash, randomBytes, randomUUID } from 'node:crypto';
import { mkdtemp, open, rm, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { ApiClient } from '../client/api-client.ts';
import type { Source } from '../client/ports.ts';
import { systemClock } from '../client/system-clock.ts';
import type { UploadOptions } from '../client/upload-options.ts';
import { uploadSource } from '../client/uploader.ts';
import { TREE_BLOCK } from '../core/digest.ts';
import { openLocalFile } from './node/file-source.ts';
import { HashPool } from './node/hash-pool.ts';
import { HttpConnection } from './node/http-connection.ts';
import { NodeTransport } from './node/node-transport.ts';
import { pipeSource } from './node/pipe-source.ts';
import { type Fault, MemoryServer } from './testing/memory-server.ts';

const MiB = TREE_BLOCK;
let folder: string;
const hashing = new HashPool();
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'hawser-upload-'));
});
afterAll(async () => {
  await hashing[Symbol.asyncDispose]();
  await rm(folder, { recursive: true, force: true });
});

function run(server: MemoryServer, source: Source, more: Partial<UploadOptions> = {}) {
  const connection = new HttpConnection();
  const api = new ApiClient({ server: server.url, fetch: connection.fetch, clock: systemClock });
  return uploadSource({
    api,
    source,
    name: 'disk',
    transport: new NodeTransport(connection),
    hashing,
    clock: systemClock,
    signal: new AbortController().signal,
    newId: randomUUID,
    maxChunk: 2 * MiB,
    backoff: { firstMs: 1, mostMs: 5 },
    ...more,
  }).finally(() => connection[Symbol.dispose]());
}

async function fileOf(name: string, bytes: Uint8Array): Promise<string> {
  const path = join(folder, name);
  await writeFile(path, bytes);
  return path;
}

/** Blocks of random bytes and of zeros, and a short tail. */
function mixed(blocks: readonly boolean[], tail: number): Buffer {
  return Buffer.concat([...blocks.map((data) => (data ? randomBytes(MiB) : Buffer.alloc(MiB))), randomBytes(tail)]);
}

function tree(bytes: Buffer): string {
  const whole = createHash('sha256');
  for (let at = 0; at < bytes.length; at += MiB) {
    whole.update(
      createHash('sha256')
        .update(bytes.subarray(at, at + MiB))
        .digest(),
    );
  }
  return whole.digest('hex');
}

describe('an upload', () => {
  test('sends the data, tells the zeros, and ends with equal bytes', async () => {
    await using server = await MemoryServer.start();
    const bytes = mixed([true, false, true, true, false, false, true], 12345);
    await using source = await openLocalFile(await fileOf('a', bytes));
    const outcome = await run(server, source);
    expect(server.content('disk').equals(bytes)).toBe(true);
    expect(outcome).toMatchObject({
      how: 'begun',
      treeDigest: tree(bytes),
      sentBytes: 4 * MiB + 12345,
      zeroBytes: 3 * MiB,
    });
  });

  test('of nothing at all works', async () => {
    await using server = await MemoryServer.start();
    await using source = await openLocalFile(await fileOf('empty', new Uint8Array()));
    await run(server, source);
    expect(server.content('disk').length).toBe(0);
  });

  test('of a sparse file reads and sends no hole, whatever lies at its end', async () => {
    await using server = await MemoryServer.start();
    const path = join(folder, 'sparse');
    await using handle = await open(path, 'w');
    await handle.truncate(64 * MiB + 777);
    await handle.write(randomBytes(5000), 0, 5000, 33 * MiB + 100);
    await using source = await openLocalFile(path);
    expect(source.dataSize).toBe(MiB);
    let read = 0;
    const outcome = await run(server, {
      ...source,
      read: (into, offset) => {
        read += into.length;
        return source.read(into, offset);
      },
    });
    expect(read).toBeLessThan(64 * 1024);
    expect(outcome.sentBytes).toBe(MiB);
    expect(outcome.zeroBytes).toBe(63 * MiB + 777);
  });

  test('of a pipe of unknown size works', async () => {
    await using server = await MemoryServer.start();
    const bytes = mixed([true, false, true], 99);
    await run(
      server,
      pipeSource(Readable.from([bytes.subarray(0, 1000), bytes.subarray(1000)]), { name: 'disk', size: null }),
    );
    expect(server.content('disk').equals(bytes)).toBe(true);
  });

  test('of a pipe goes on where it was when the same comes again', async () => {
    await using server = await MemoryServer.start();
    const bytes = mixed([true, false, true, true], 99);
    const pipe = () => pipeSource(Readable.from([bytes]), { name: 'disk', size: bytes.length });
    server.faults = [{ kind: 'none' }, { kind: 'problem', code: 'bad-request', status: 400 }];
    await expect(run(server, pipe(), { parallel: 1, maxChunk: MiB })).rejects.toMatchObject({ code: 'bad-request' });
    const outcome = await run(server, pipe(), { maxChunk: MiB });
    expect(outcome.how).toBe('resumed');
    expect(server.resent).toBe(0);
    expect(server.content('disk').equals(bytes)).toBe(true);
  });

  test('behind a proxy with a body limit makes its chunks smaller and goes on', async () => {
    await using server = await MemoryServer.start();
    server.bodyLimit = 700 * 1024;
    const bytes = mixed([true, true, true], 5);
    await using source = await openLocalFile(await fileOf('limited', bytes));
    await run(server, source);
    expect(server.content('disk').equals(bytes)).toBe(true);
    expect(server.puts.filter((length) => length > server.bodyLimit).length).toBeLessThanOrEqual(4);
  });

  test('behind a proxy that takes next to nothing says which setting to change', async () => {
    await using server = await MemoryServer.start();
    server.bodyLimit = 1000;
    await using source = await openLocalFile(await fileOf('tiny-limit', randomBytes(MiB)));
    await expect(run(server, source)).rejects.toMatchObject({
      code: 'too-large',
      details: { next: expect.stringContaining('client_max_body_size') },
    });
  });

  test('waits while it is paused and says so', async () => {
    await using server = await MemoryServer.start();
    server.faults = [{ kind: 'problem', code: 'paused', status: 409 }];
    await using source = await openLocalFile(await fileOf('paused', randomBytes(MiB)));
    const seen: string[] = [];
    await run(server, source, { onProgress: ({ waiting }) => waiting !== null && seen.push(waiting.code) });
    expect(seen).toContain('paused');
  });

  test('gives up a stalled request and sends only what had not arrived', async () => {
    await using server = await MemoryServer.start();
    server.faults = [{ kind: 'stall', after: 100_000 }];
    const bytes = randomBytes(2 * MiB);
    await using source = await openLocalFile(await fileOf('stalled', bytes));
    await run(server, source, { stallMs: 500 });
    expect(server.content('disk').equals(bytes)).toBe(true);
    expect(server.resent).toBe(0);
  });

  test('sends again what a power cut took, and only ends when all is there', async () => {
    await using server = await MemoryServer.start();
    server.faults = [{ kind: 'none' }, { kind: 'none' }, { kind: 'forget' }];
    const bytes = mixed([true, true, false, true], 5);
    await using source = await openLocalFile(await fileOf('forgotten', bytes));
    await run(server, source, { parallel: 1, maxChunk: MiB });
    expect(server.content('disk').equals(bytes)).toBe(true);
  });

  test('loses nothing when it is interrupted and run again', async () => {
    await using server = await MemoryServer.start();
    const bytes = mixed([true, true, false, true, true, true], 500);
    const path = await fileOf('interrupted', bytes);
    const stop = new AbortController();
    await using first = await openLocalFile(path);
    const onProgress = ({ sent }: { sent: number }) => sent >= 2 * MiB && stop.abort(new Error('Ctrl-C'));
    await expect(run(server, first, { signal: stop.signal, onProgress })).rejects.toThrow('Ctrl-C');
    await using second = await openLocalFile(path);
    const outcome = await run(server, second);
    expect(outcome.how).toBe('resumed');
    expect(outcome.verifiedBytes).toBeGreaterThanOrEqual(2 * MiB);
    expect(server.resent).toBe(0);
    expect(server.content('disk').equals(bytes)).toBe(true);
  });

  test('finds one changed byte in what was received, although name, size and time are the same', async () => {
    await using server = await MemoryServer.start();
    const bytes = mixed([true, true, true], 500);
    const path = await fileOf('changed', bytes);
    const when = new Date(1_700_000_000_000);
    await utimes(path, when, when);
    server.faults = [{ kind: 'none' }, { kind: 'none' }, { kind: 'problem', code: 'bad-request', status: 400 }];
    await using first = await openLocalFile(path);
    await expect(run(server, first, { parallel: 1, maxChunk: MiB })).rejects.toMatchObject({ code: 'bad-request' });
    bytes.writeUInt8(bytes.readUInt8(MiB + 5) ^ 1, MiB + 5);
    await writeFile(path, bytes);
    await utimes(path, when, when);
    const before = server.puts.length;
    await using second = await openLocalFile(path);
    await expect(run(server, second)).rejects.toMatchObject({ code: 'source-changed', details: { offset: MiB } });
    expect(server.puts.length).toBe(before);
    const outcome = await run(server, second, { restart: true });
    expect(outcome.how).toBe('begun');
    expect(server.content('disk').equals(bytes)).toBe(true);
  });

  test('refuses to finish when the file was written to meanwhile', async () => {
    await using server = await MemoryServer.start();
    const path = await fileOf('written', randomBytes(2 * MiB));
    await using source = await openLocalFile(path);
    const later = new Date(Date.now() + 5000);
    await utimes(path, later, later);
    await expect(run(server, source)).rejects.toMatchObject({ code: 'source-changed' });
    expect(server.log).not.toContain('POST uploads/finish');
  });

  test('that was finished before is compared and not sent again', async () => {
    await using server = await MemoryServer.start();
    const bytes = mixed([true, false], 7);
    const path = await fileOf('twice', bytes);
    await using first = await openLocalFile(path);
    await run(server, first);
    const before = server.puts.length;
    await using second = await openLocalFile(path);
    const outcome = await run(server, second);
    expect(outcome).toMatchObject({ how: 'there', treeDigest: tree(bytes) });
    expect(server.puts.length).toBe(before);
    expect(server.uploads.length).toBe(1);
  });

  test('survives any script of faults with equal bytes, and never sends again what was acknowledged', async () => {
    const fault = fc.oneof(
      fc.constant<Fault>({ kind: 'none' }),
      fc.record({ kind: fc.constant('cut' as const), after: fc.integer({ min: 0, max: 2 * MiB }) }),
      fc.constant<Fault>({ kind: 'drop-answer' }),
      fc.constant<Fault>({ kind: 'status', status: 502, body: '<html>Bad Gateway</html>' }),
      fc.constant<Fault>({ kind: 'status', status: 504, body: '' }),
      fc.constant<Fault>({ kind: 'problem', code: 'unavailable', status: 503 }),
      fc.constant<Fault>({ kind: 'problem', code: 'store-full', status: 507 }),
      fc.constant<Fault>({ kind: 'problem', code: 'too-many', status: 429 }),
    );
    const script = fc.record({
      blocks: fc.array(fc.boolean(), { minLength: 1, maxLength: 6 }),
      tail: fc.integer({ min: 0, max: 5000 }),
      faults: fc.array(fault, { maxLength: 12 }),
      parallel: fc.integer({ min: 1, max: 4 }),
    });
    let round = 0;
    await fc.assert(
      fc.asyncProperty(script, async ({ blocks, tail, faults, parallel }) => {
        await using server = await MemoryServer.start();
        server.faults = [...faults];
        const bytes = mixed(blocks, tail);
        await using source = await openLocalFile(await fileOf(`script-${round++}`, bytes));
        const outcome = await run(server, source, { parallel });
        expect(server.content('disk').equals(bytes)).toBe(true);
        expect(outcome.treeDigest).toBe(tree(bytes));
        expect(server.resent).toBe(0);
      }),
      { numRuns: 40 },
    );
  });
});
