import { randomBytes } from 'node:crypto';
import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { ApiClient } from '../client/api-client.ts';
import type { DownloadSink } from '../client/download-sink.ts';
import { type DownloadOptions, downloadImage } from '../client/downloader.ts';
import { systemClock } from '../client/system-clock.ts';
import { TREE_BLOCK } from '../core/digest.ts';
import { isHawserError } from '../core/errors.ts';
import { openFileSink, pipeSink } from './node/file-sink.ts';
import { HashPool } from './node/hash-pool.ts';
import { HttpConnection } from './node/http-connection.ts';
import { NodeTransport } from './node/node-transport.ts';
import { MemoryServer } from './testing/memory-server.ts';

const MiB = TREE_BLOCK;
let folder: string;
const hashing = new HashPool();
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'hawser-download-'));
});
afterAll(async () => {
  await hashing[Symbol.asyncDispose]();
  await rm(folder, { recursive: true, force: true });
});

async function run(server: MemoryServer, sink: DownloadSink, more: Partial<DownloadOptions> = {}) {
  using connection = new HttpConnection();
  const api = new ApiClient({ server: server.url, fetch: connection.fetch, clock: systemClock });
  const [image] = (await api.images()).items;
  if (image === undefined) throw new Error('nothing was seeded');
  return await downloadImage({
    api,
    image,
    sink,
    transport: new NodeTransport(connection),
    hashing,
    clock: systemClock,
    signal: new AbortController().signal,
    maxChunk: 2 * MiB,
    backoff: { firstMs: 1, mostMs: 5 },
    ...more,
  });
}

/** 2 MiB of data, 40 MiB of hole, and a tail with data. */
function sparse(): { readonly bytes: Buffer; readonly holes: readonly { offset: number; length: number }[] } {
  const bytes = Buffer.concat([randomBytes(2 * MiB), Buffer.alloc(40 * MiB), randomBytes(MiB + 321)]);
  return { bytes, holes: [{ offset: 2 * MiB, length: 40 * MiB }] };
}

describe('a download', () => {
  test('fetches only data, writes no hole, and has equal bytes', async () => {
    await using server = await MemoryServer.start();
    const { bytes, holes } = sparse();
    server.seed('disk', bytes, holes);
    const path = join(folder, 'sparse');
    await using sink = await openFileSink(path, bytes.length);
    const outcome = await run(server, sink);
    expect((await readFile(path)).equals(bytes)).toBe(true);
    expect(outcome).toMatchObject({ fetchedBytes: 3 * MiB + 321, holeBytes: 40 * MiB });
    expect((await stat(path)).blocks * 512).toBeLessThan(8 * MiB);
  });

  test('survives cut connections, errors and bytes that were damaged on the way', async () => {
    await using server = await MemoryServer.start();
    const { bytes, holes } = sparse();
    server.seed('disk', bytes, holes);
    server.faults = [
      { kind: 'cut', after: 100_000 },
      { kind: 'forget' },
      { kind: 'status', status: 502, body: 'no' },
      { kind: 'forget' },
    ];
    const path = join(folder, 'faults');
    await using sink = await openFileSink(path, bytes.length);
    await run(server, sink);
    expect((await readFile(path)).equals(bytes)).toBe(true);
  });

  test('says corrupt when a block stays wrong', async () => {
    await using server = await MemoryServer.start();
    server.seed('disk', randomBytes(MiB));
    server.faults = Array.from({ length: 3 }, () => ({ kind: 'forget' as const }));
    await using sink = await openFileSink(join(folder, 'corrupt'), MiB);
    await expect(run(server, sink)).rejects.toMatchObject({ code: 'corrupt', details: { offset: 0 } });
  });

  test('run again keeps what is right, fetches what is wrong, and clears what lies in a hole', async () => {
    await using server = await MemoryServer.start();
    const { bytes, holes } = sparse();
    server.seed('disk', bytes, holes);
    const path = join(folder, 'again');
    const left = Buffer.from(bytes);
    left.writeUInt8(left.readUInt8(MiB + 7) ^ 1, MiB + 7);
    left.fill(9, 5 * MiB, 5 * MiB + 100);
    await writeFile(path, left);
    await using sink = await openFileSink(path, bytes.length);
    const outcome = await run(server, sink);
    expect(outcome.fetchedBytes).toBe(MiB);
    expect((await readFile(path)).equals(bytes)).toBe(true);
  });

  test('into a file that another one is writing is refused; afterwards it is free again', async () => {
    const path = join(folder, 'two.hawser-part');
    const first = await openFileSink(path, MiB);
    await expect(openFileSink(path, MiB)).rejects.toSatisfy((error) => isHawserError(error, 'in-use'));
    await first[Symbol.asyncDispose]();
    const second = await openFileSink(path, MiB);
    await second[Symbol.asyncDispose]();
  });

  test('to a pipe comes whole and in order', async () => {
    await using server = await MemoryServer.start();
    const { bytes, holes } = sparse();
    server.seed('disk', bytes, holes);
    const pipe = new PassThrough();
    const [got] = await Promise.all([buffer(pipe), run(server, pipeSink(pipe)).finally(() => pipe.end())]);
    expect(got.equals(bytes)).toBe(true);
  });
});
