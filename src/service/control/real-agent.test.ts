import { createHash, randomBytes, randomUUID } from 'node:crypto';
import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { alice, testControl, until } from '../../../test/control.ts';
import { type TestPostgres, testPostgres } from '../../../test/postgres.ts';
import type { ByteSource } from '../../core/bytes.ts';
import { createLinkDoor } from '../../doors/agent/link-door.ts';
import { HashPool } from '../../engine/hash-pool.ts';
import { SlabPool } from '../../engine/slab-pool.ts';
import { openStateFolder } from '../../host/state-folder.ts';
import { connectAgent } from '../../links/agent-link.ts';
import { openStore } from '../../stores/index.ts';
import { HostAgent } from '../host/host-agent.ts';

let postgres: TestPostgres;
let folder: string;
beforeAll(async () => {
  postgres = await testPostgres();
  folder = await mkdtemp(join(tmpdir(), 'hawser-control-'));
});
afterAll(async () => {
  await postgres[Symbol.asyncDispose]();
  await rm(folder, { recursive: true, force: true });
});

const MiB = 1024 * 1024;
const ids = { hostId: randomUUID(), storeId: randomUUID() };
const objects = () => join(folder, 'store');

/** The real agent behind the real link; started again on the same folder it takes up what it had. */
async function startAgent() {
  const hashes = new HashPool(1);
  const store = await openStore({ driver: 'file', name: 'default', path: objects() });
  const agent = await HostAgent.start({
    hostId: ids.hostId,
    name: 'host',
    bootId: 'boot',
    version: '0',
    dataUrls: () => ['http://127.0.0.1:1'],
    stores: [{ storeId: ids.storeId, name: 'default', store }],
    state: await openStateFolder(join(folder, 'agent')),
    means: { slabs: new SlabPool(8), hashes },
    totalRate: null,
    now: () => new Date(),
    monotonic: () => performance.now(),
    log: { info: () => {}, warn: () => {} },
  });
  const door = createLinkDoor(agent);
  const path = join(folder, 'agent.sock');
  await rm(path, { force: true });
  await door.listen({ path });
  return {
    agent,
    link: connectAgent(path),
    async [Symbol.asyncDispose]() {
      await door.close();
      await agent.close();
      await store.close();
      await hashes[Symbol.asyncDispose]();
    },
  };
}

function sourceOf(bytes: Uint8Array): ByteSource {
  return {
    drain: async (take) => {
      for (let at = 0; at < bytes.length; at += 65_536) await take(bytes.subarray(at, at + 65_536));
    },
  };
}

function send(agent: HostAgent, uploadId: string, bytes: Uint8Array, offset: number) {
  const request = { offset, length: bytes.length, total: null };
  return agent.plane.receive(uploadId, request, sourceOf(bytes), new AbortController().signal);
}

test('bytes at a real agent: half, both restarted, the rest, a late digest, damage found, all of it removed', async () => {
  await using open = await postgres.open();
  const bytes = randomBytes(4 * MiB + 5);
  const digest = { algorithm: 'sha512', hex: createHash('sha512').update(bytes).digest('hex') } as const;
  const upload = await (async () => {
    await using host = await startAgent();
    await using ready = await testControl(open, []);
    const ending = new AbortController();
    const attached = ready.control.attach(host.link, ending.signal);
    await until(async () => (await ready.control.stores.list(alice))[0]?.state === 'online');
    const begun = await ready.control.uploads.begin(alice, { name: 'disk', size: bytes.length, format: 'auto' });
    await send(host.agent, begun.id, bytes.subarray(2 * MiB), 2 * MiB);
    await until(async () => (await ready.control.tasks.get(alice, begun.taskId)).state === 'RUNNING');
    ending.abort();
    await attached;
    return begun;
  })();

  await using host = await startAgent();
  await using ready = await testControl(open, []);
  const { uploads, images, tasks } = ready.control;
  const ending = new AbortController();
  const attached = ready.control.attach(host.link, ending.signal);
  await ready.control.firstAgent;
  await until(async () => (await uploads.get(alice, upload.id)).receivedBytes === 2 * MiB + 5);
  await expect(uploads.finish(alice, upload.id, {})).rejects.toMatchObject({ code: 'incomplete' });
  await send(host.agent, upload.id, bytes.subarray(0, 2 * MiB), 0);
  const all = await Promise.all(Array.from({ length: 20 }, () => uploads.finish(alice, upload.id, { digest })));
  expect(new Set(all.map(({ image }) => image.id)).size).toBe(1);
  await until(async () => (await images.get(alice, upload.imageId)).state !== 'verifying');
  expect((await images.get(alice, upload.imageId)).state).toBe('ready');
  expect((await images.get(alice, upload.imageId)).digests).toContainEqual(digest);

  const [file = ''] = (await readdir(objects(), { recursive: true })).filter((name) => name.includes(upload.key));
  await writeFile(join(objects(), file), Buffer.of((bytes[0] ?? 0) ^ 1), { flag: 'r+' });
  const verify = await images.verify(alice, upload.imageId);
  await until(async () => (await tasks.get(alice, verify.id)).endedAt !== null);
  expect(await tasks.get(alice, verify.id)).toMatchObject({ state: 'FAILURE', cause: 'corrupt' });
  await images.remove(alice, upload.imageId);
  expect((await readdir(objects(), { recursive: true })).filter((name) => name.includes(upload.key))).toEqual([]);
  ending.abort();
  await attached;
});
