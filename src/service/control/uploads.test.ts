import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { admin, alice, bob, testControl, until } from '../../../test/control.ts';
import { PlainAgent } from '../../../test/plain-agent.ts';
import { type TestPostgres, testPostgres } from '../../../test/postgres.ts';
import type { Digest } from '../../core/digest.ts';
import { HawserError } from '../../core/errors.ts';

let postgres: TestPostgres;
beforeAll(async () => {
  postgres = await testPostgres();
});
afterAll(async () => {
  await postgres[Symbol.asyncDispose]();
});

const MiB = 1024 * 1024;

test('an upload begins, receives, finishes and its image is ready', async () => {
  await using open = await postgres.open();
  const agent = new PlainAgent([{ name: 'default', free: 100 * MiB }]);
  await using ready = await testControl(open, [agent]);
  const { uploads, images, tasks, stores } = ready.control;

  const upload = await uploads.begin(alice, { name: 'disk', size: 10 * MiB, format: 'auto' });
  expect(upload).toMatchObject({ state: 'open', reserved: 10 * MiB, receivedBytes: 0, owner: 'alice', name: 'disk' });
  expect(await uploads.target(alice, upload.id, 'write')).toEqual({
    uploadId: upload.id,
    hostId: agent.hostId,
    generation: 1,
  });
  expect((await stores.list(alice))[0]?.reserved).toBe(10 * MiB);
  expect((await tasks.get(alice, upload.taskId)).state).toBe('INITIATED');
  await expect(uploads.finish(alice, upload.id, {})).rejects.toMatchObject({ code: 'incomplete' });
  expect((await uploads.get(alice, upload.id)).state).toBe('open');

  agent.receive(upload.id, 10 * MiB);
  const done = await uploads.finish(alice, upload.id, {});
  expect(done.upload.state).toBe('sealed');
  expect(done.image).toMatchObject({ state: 'ready', size: 10 * MiB, format: 'raw' });
  expect(done.image.copies).toMatchObject([{ state: 'ready', doneBytes: 10 * MiB }]);
  expect((await tasks.get(alice, upload.taskId)).state).toBe('SUCCESS');
  expect((await tasks.events(alice, upload.taskId)).map((event) => event.to)).toEqual([
    'INITIATED',
    'RUNNING',
    'SUCCESS',
  ]);
  expect((await stores.list(alice))[0]?.reserved).toBe(0);
  expect(agent.uploads.size).toBe(0);
  expect((await images.list(alice, { limit: 10 })).items.map((image) => image.id)).toEqual([upload.imageId]);
  expect((await images.list(bob, { limit: 10 })).items).toEqual([]);
  expect((await images.list(admin, { limit: 10 })).items).toHaveLength(1);
  await expect(images.get(bob, upload.imageId)).rejects.toMatchObject({ code: 'not-found' });
  expect(await images.source(alice, upload.imageId)).toMatchObject({ hostId: agent.hostId, key: upload.key });
});

test('a hundred finishes at once all get the same answer, and one of them does it', async () => {
  await using open = await postgres.open();
  const agent = new PlainAgent([{ name: 'default', free: 100 * MiB }]);
  await using ready = await testControl(open, [agent]);
  await using other = await testControl(open, [agent]);
  const upload = await ready.control.uploads.begin(alice, { name: 'disk', size: MiB, format: 'raw' });
  agent.receive(upload.id, MiB);
  const answers = await Promise.all(
    Array.from({ length: 100 }, (_, i) => (i % 2 === 0 ? ready : other).control.uploads.finish(alice, upload.id, {})),
  );
  expect(new Set(answers.map((answer) => JSON.stringify(answer))).size).toBe(1);
  expect(answers[0]?.image.state).toBe('ready');
  const events = await ready.control.tasks.events(alice, upload.taskId);
  expect(events.filter((event) => event.to === 'SUCCESS')).toHaveLength(1);
});

test('begins at once that together exceed the free space are never promised more than there is', async () => {
  await using open = await postgres.open();
  const agent = new PlainAgent([
    { name: 'one', free: 10 * MiB },
    { name: 'two', free: 7 * MiB },
  ]);
  await using ready = await testControl(open, [agent]);
  const results = await Promise.allSettled(
    Array.from({ length: 20 }, () =>
      ready.control.uploads.begin(alice, { name: 'disk', size: 3 * MiB, format: 'raw' }),
    ),
  );
  expect(results.filter((result) => result.status === 'fulfilled')).toHaveLength(5);
  const refused = results.flatMap((result) => (result.status === 'rejected' ? [result.reason] : []));
  expect(new Set(refused.map((error) => error.code))).toEqual(new Set(['store-full']));
  expect(refused[0].message).toMatch(
    /^No store has room: wanted 3 MiB, free .* in store "one" of host ".+", .* in store "two" of host/,
  );
  const stores = await ready.control.stores.list(admin);
  expect(stores.map((store) => store.reserved)).toEqual([9 * MiB, 6 * MiB]);
  expect((await ready.control.images.list(alice, { limit: 50 })).items).toHaveLength(5);
});

test("begins at once that together exceed a user's quota are never promised more than it; others have their own", async () => {
  await using open = await postgres.open();
  const agent = new PlainAgent([{ name: 'default', free: 100 * MiB }]);
  await using ready = await testControl(open, [agent], {}, { limits: { userQuota: 10 * MiB } });
  const begin = () => ready.control.uploads.begin(alice, { name: 'disk', size: 3 * MiB, format: 'raw' });
  const results = await Promise.allSettled(Array.from({ length: 8 }, begin));
  expect(results.filter((result) => result.status === 'fulfilled')).toHaveLength(3);
  const refused = results.flatMap((result) => (result.status === 'rejected' ? [result.reason] : []));
  expect(new Set(refused.map((error) => error.code))).toEqual(new Set(['quota-exceeded']));
  await ready.control.uploads.begin(bob, { name: 'disk', size: 3 * MiB, format: 'raw' });
  const [first] = (await ready.control.uploads.list(alice, { limit: 1 })).items;
  await ready.control.uploads.cancel(alice, first?.id ?? '');
  await begin();
});

test('the same idempotency key is the same upload, also at once; with another request it is a conflict', async () => {
  await using open = await postgres.open();
  const agent = new PlainAgent([{ name: 'default', free: 100 * MiB }]);
  await using ready = await testControl(open, [agent]);
  await using other = await testControl(open, [agent]);
  const request = { name: 'disk', size: MiB, format: 'raw', idempotencyKey: 'k' } as const;
  const all = await Promise.all(
    Array.from({ length: 10 }, (_, i) => (i % 2 === 0 ? ready : other).control.uploads.begin(alice, request)),
  );
  expect(new Set(all.map((upload) => upload.id)).size).toBe(1);
  await expect(ready.control.uploads.begin(alice, { ...request, size: 2 * MiB })).rejects.toMatchObject({
    code: 'conflict',
  });
  const [first] = all;
  expect((await ready.control.uploads.begin(bob, request)).id).not.toBe(first?.id);
});

test('what the agent refuses is failed with the reason, and the key is free again', async () => {
  await using open = await postgres.open();
  const agent = new PlainAgent([{ name: 'default', free: 100 * MiB }]);
  await using ready = await testControl(open, [agent]);
  const { uploads, images } = ready.control;
  // The agent's own ledger knows better than what it last reported.
  for (const store of agent.stores) store.free = 0;
  const request = { name: 'disk', size: MiB, format: 'raw', idempotencyKey: 'k' } as const;
  await expect(uploads.begin(alice, request)).rejects.toMatchObject({ code: 'store-full' });
  const [failed] = (await images.list(alice, { limit: 5 })).items;
  expect(failed).toMatchObject({ state: 'failed', status: 'the ledger says no', copies: [] });
  for (const store of agent.stores) store.free = 100 * MiB;
  // Retry Upload fills the same image.
  const again = await uploads.begin(alice, { ...request, imageId: failed?.id });
  expect(again.imageId).toBe(failed?.id);
  expect((await images.get(alice, again.imageId)).state).toBe('in-progress');
  await expect(uploads.begin(alice, { name: 'x', format: 'raw', imageId: again.imageId })).rejects.toMatchObject({
    code: 'conflict',
  });
  await expect(uploads.begin(bob, { name: 'x', format: 'raw', imageId: again.imageId })).rejects.toMatchObject({
    code: 'not-found',
  });
  agent.receive(again.id, MiB);
  expect((await uploads.finish(alice, again.id, {})).image).toMatchObject({ id: failed?.id, state: 'ready' });
});

test('an agent that cannot be reached leaves nothing listed, and is told to discard when it is back', async () => {
  await using open = await postgres.open();
  const agent = new PlainAgent([{ name: 'default', free: 100 * MiB }]);
  await using ready = await testControl(open, [agent]);
  agent.down = new HawserError('unavailable', 'away');
  await expect(ready.control.uploads.begin(alice, { name: 'disk', size: MiB, format: 'raw' })).rejects.toMatchObject({
    code: 'unavailable',
  });
  expect((await ready.control.images.list(alice, { limit: 5 })).items).toEqual([]);
  expect((await ready.control.stores.list(alice))[0]?.reserved).toBe(0);
  agent.down = undefined;
  agent.calls.length = 0;
  await ready.control.sweep();
  expect(agent.calls).toEqual(['discardUpload']);
  await ready.control.sweep();
  expect(agent.calls).toEqual(['discardUpload']);
});

test('too large, dataSize above size, an unknown store and a disabled one are refused', async () => {
  await using open = await postgres.open();
  const agent = new PlainAgent([{ name: 'default', free: 100 * MiB }]);
  await using ready = await testControl(open, [agent], { maxSize: 10 * MiB });
  const { uploads, stores } = ready.control;
  const base = { name: 'disk', format: 'raw' } as const;
  await expect(uploads.begin(alice, { ...base, size: 11 * MiB })).rejects.toMatchObject({ code: 'too-large' });
  await expect(uploads.begin(alice, { ...base, size: 1, dataSize: 2 })).rejects.toMatchObject({ code: 'bad-request' });
  await expect(uploads.begin(alice, { ...base, storeId: randomUUID() })).rejects.toMatchObject({ code: 'not-found' });
  const [store] = await stores.list(alice);
  await expect(stores.change(alice, store?.id ?? '', { enabled: false })).rejects.toMatchObject({ code: 'forbidden' });
  expect(await stores.change(admin, store?.id ?? '', { enabled: false })).toMatchObject({ enabled: false });
  await expect(uploads.begin(alice, base)).rejects.toMatchObject({ code: 'unavailable' });
  await stores.change(admin, store?.id ?? '', { enabled: true });
  const sparse = await uploads.begin(alice, { ...base, size: 10 * MiB, dataSize: MiB });
  expect(sparse.reserved).toBe(MiB);
});

test('digests: a wrong tree stays open, a flat one known in passing is compared, one that is not becomes a comparison', async () => {
  await using open = await postgres.open();
  const agent = new PlainAgent([{ name: 'default', free: 100 * MiB }]);
  await using ready = await testControl(open, [agent]);
  const { uploads, images, tasks } = ready.control;
  const right = { algorithm: 'sha256', hex: 'a'.repeat(64) } as const;
  const wrong = { algorithm: 'sha256', hex: 'b'.repeat(64) } as const;
  const begin = async (digest?: Digest) => {
    const upload = await uploads.begin(alice, { name: 'disk', size: 10, format: 'raw', digest });
    agent.receive(upload.id, 10);
    return upload;
  };

  const tree = await begin();
  const badTree = { digest: { algorithm: 'tree-sha256', hex: '0'.repeat(64) } } as const;
  await expect(uploads.finish(alice, tree.id, badTree)).rejects.toMatchObject({ code: 'digest-mismatch' });
  expect((await uploads.get(alice, tree.id)).state).toBe('open');
  expect((await uploads.finish(alice, tree.id, {})).image.state).toBe('ready');
  await expect(uploads.finish(alice, tree.id, badTree)).rejects.toMatchObject({ code: 'digest-mismatch' });

  agent.flat = { sha256: right.hex };
  const known = await begin(right);
  await expect(uploads.finish(alice, known.id, { digest: wrong })).rejects.toMatchObject({ code: 'digest-mismatch' });
  expect((await uploads.finish(alice, known.id, { digest: right })).image.digests).toContainEqual(right);
  const bad = await begin(wrong);
  for (let i = 0; i < 2; i++)
    await expect(uploads.finish(alice, bad.id, {})).rejects.toMatchObject({ code: 'digest-mismatch' });
  expect(await images.get(alice, bad.imageId)).toMatchObject({ state: 'failed', copies: [{ state: 'failed' }] });
  expect((await tasks.get(alice, bad.taskId)).cause).toBe('digest-mismatch');

  agent.flat = {};
  for (const [hex, state, task] of [
    [right.hex, 'ready', 'SUCCESS'],
    [wrong.hex, 'failed', 'FAILURE'],
  ] as const) {
    const late = await begin();
    const { image } = await uploads.finish(alice, late.id, { digest: right });
    expect(image.state).toBe('verifying');
    expect(await tasks.get(alice, late.taskId)).toMatchObject({ state: 'RUNNING', status: 'verifying' });
    const work = agent.work.get(late.taskId);
    if (work === undefined) throw new Error('no work was started');
    agent.say({ kind: 'work', work: { ...work, state: 'done', doneBytes: 10, result: { algorithm: 'sha256', hex } } });
    await until(async () => (await tasks.get(alice, late.taskId)).state !== 'RUNNING');
    expect((await images.get(alice, late.imageId)).state).toBe(state);
    expect((await tasks.get(alice, late.taskId)).state).toBe(task);
  }
});

test('an unsafe format fails upload, image and task, and its bytes are discarded', async () => {
  await using open = await postgres.open();
  const agent = new PlainAgent([{ name: 'default', free: 100 * MiB }]);
  await using ready = await testControl(open, [agent]);
  const { uploads, images, tasks } = ready.control;
  const late = await uploads.begin(alice, { name: 'late', size: 10, format: 'raw' });
  agent.receive(late.id, 10);
  agent.refuseFinish = new HawserError('format-unsafe', 'it has a backing file');
  await expect(uploads.finish(alice, late.id, {})).rejects.toMatchObject({ code: 'format-unsafe' });
  const early = await uploads.begin(alice, { name: 'early', size: 10, format: 'raw' });
  agent.say(
    agent.receive(early.id, 5, {
      state: 'failed',
      problem: { code: 'format-unsafe', message: 'it has a backing file' },
    }),
  );
  await until(async () => (await uploads.get(alice, early.id)).state === 'failed');
  for (const upload of [late, early]) {
    expect(await images.get(alice, upload.imageId)).toMatchObject({ state: 'failed', status: 'it has a backing file' });
    expect(await tasks.get(alice, upload.taskId)).toMatchObject({ state: 'FAILURE', cause: 'format-unsafe' });
    await expect(uploads.target(alice, upload.id, 'write')).rejects.toMatchObject({ code: 'conflict' });
  }
  await until(() => agent.uploads.size === 0);
});

test('cancel and remove give bytes back, are repeatable, and survive an agent that is away', async () => {
  await using open = await postgres.open();
  const agent = new PlainAgent([{ name: 'default', free: 100 * MiB }]);
  await using ready = await testControl(open, [agent]);
  const { uploads, images, tasks } = ready.control;
  const one = await uploads.begin(alice, { name: 'one', size: 10, format: 'raw' });
  const access = await uploads.access(alice, one.id);
  expect(access.url).toBe(`http://127.0.0.1:1/data/v1/uploads/${one.id}`);
  await uploads.cancel(alice, one.id);
  await uploads.cancel(alice, one.id);
  expect(agent.tickets.size).toBe(0);
  expect(agent.uploads.size).toBe(0);
  await expect(uploads.target(alice, one.id, 'write')).rejects.toMatchObject({ code: 'cancelled' });
  await expect(images.get(alice, one.imageId)).rejects.toMatchObject({ code: 'not-found' });
  expect((await tasks.get(alice, one.taskId)).state).toBe('CANCELLED');

  const two = await uploads.begin(alice, { name: 'two', size: 10, format: 'raw' });
  agent.receive(two.id, 10);
  await uploads.finish(alice, two.id, {});
  await expect(uploads.cancel(alice, two.id)).rejects.toMatchObject({ code: 'conflict' });
  expect((await images.access(alice, two.imageId)).url).toBe(
    `http://127.0.0.1:1/data/v1/copies/${two.storeId}/${two.key}`,
  );
  agent.down = new HawserError('unavailable', 'away');
  await images.remove(alice, two.imageId);
  await images.remove(alice, two.imageId);
  expect(agent.copies.size).toBe(1);
  agent.down = undefined;
  await ready.control.sweep();
  expect(agent.copies.size).toBe(0);
});

test('a size that is set while its upload is being cancelled waits for that, holding nothing, and is refused then', async () => {
  await using open = await postgres.open();
  const agent = new PlainAgent([{ name: 'default', free: 100 * MiB }]);
  await using ready = await testControl(open, [agent]);
  const upload = await ready.control.uploads.begin(alice, { name: 'disk', format: 'raw' });
  let setting: Promise<unknown> | undefined;
  await open.db.transaction(async (tx) => {
    await tx.images.lock(upload.imageId);
    setting = ready.control.uploadServers.setSize(alice, upload.id, MiB).catch((error: unknown) => error);
    const waits = `select 1 from pg_stat_activity where datname = '${open.name}' and wait_event_type = 'Lock'`;
    await until(async () => (await postgres.query('postgres', waits)).length > 0);
    // Had it taken the Upload before the Image, each would wait for the other.
    await tx.move('uploads', upload.id, 'cancelled', { status: 'by a person' });
  });
  expect(await setting).toMatchObject({ code: 'cancelled' });
  expect(await ready.control.uploads.get(alice, upload.id)).toMatchObject({ declaredSize: null, reserved: 0 });
});
