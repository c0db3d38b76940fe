import { afterAll, beforeAll, expect, test } from 'vitest';
import { admin, alice, bob, type TestControl, testControl, until } from '../../../test/control.ts';
import { PlainAgent } from '../../../test/plain-agent.ts';
import { type TestPostgres, testPostgres } from '../../../test/postgres.ts';
import { HawserError } from '../../core/errors.ts';
import type { Task, Upload } from '../../core/nouns.ts';
import type { Change } from './use-cases.ts';

let postgres: TestPostgres;
beforeAll(async () => {
  postgres = await testPostgres();
});
afterAll(async () => {
  await postgres[Symbol.asyncDispose]();
});

const GiB = 1024 ** 3;
const agentWithRoom = () => new PlainAgent([{ name: 'default', free: 10 * GiB }]);

function begin(ready: TestControl, more: { readonly size?: number; readonly imageId?: string } = {}): Promise<Upload> {
  return ready.control.uploads.begin(alice, { name: 'disk', size: GiB, format: 'raw', ...more });
}

async function taskState(ready: TestControl, upload: Upload): Promise<string> {
  const task = await ready.control.tasks.get(alice, upload.taskId);
  return task.cause === null ? task.state : `${task.state} ${task.cause}`;
}

test('a task follows its bytes: running, paused while the client is away, running again, with a live rate', async () => {
  await using open = await postgres.open();
  const agent = agentWithRoom();
  await using ready = await testControl(open, [agent]);
  const { uploads, images, tasks } = ready.control;
  const upload = await begin(ready);
  agent.say(agent.receive(upload.id, 1000));
  await until(async () => (await taskState(ready, upload)) === 'RUNNING');
  expect((await images.get(alice, upload.imageId)).state).toBe('in-progress');
  ready.later(2);
  agent.say(agent.receive(upload.id, 5000));
  await until(async () => (await uploads.get(alice, upload.id)).receivedBytes === 5000);
  const task = await tasks.get(alice, upload.taskId);
  expect(task).toMatchObject({ doneBytes: 5000, totalBytes: GiB, actions: ['pause', 'cancel'] });
  expect(task.rate).toBeGreaterThan(1000);
  expect(task.rate).toBeLessThan(2600);

  agent.say(agent.receive(upload.id, 5000, { connections: 0 }));
  await until(async () => ready.control.tick().then(() => true));
  ready.later(31);
  await until(async () => {
    await ready.control.tick();
    return (await taskState(ready, upload)) === 'PAUSED client-away';
  });
  expect((await tasks.get(alice, upload.taskId)).rate).toBe(null);
  expect((await uploads.get(alice, upload.id)).state).toBe('open');
  agent.say(agent.receive(upload.id, 6000));
  await until(async () => (await taskState(ready, upload)) === 'RUNNING');
});

test('a full store pauses the task with the reason, and bytes that flow again run it', async () => {
  await using open = await postgres.open();
  const agent = agentWithRoom();
  await using ready = await testControl(open, [agent]);
  const upload = await begin(ready);
  agent.say(agent.receive(upload.id, 10));
  await until(async () => (await taskState(ready, upload)) === 'RUNNING');
  agent.say(agent.receive(upload.id, 20, { problem: { code: 'store-full', message: 'no space is left' } }));
  await until(async () => (await taskState(ready, upload)) === 'PAUSED store-full');
  agent.say(agent.receive(upload.id, 30, { problem: null }));
  await until(async () => (await taskState(ready, upload)) === 'RUNNING');
});

test('an agent speaks of its own uploads, work and stores only: what it says of those of another host does not count', async () => {
  await using open = await postgres.open();
  const agent = agentWithRoom();
  const other = agentWithRoom();
  await using ready = await testControl(open, [agent, other]);
  const { uploads, images, stores, tasks } = ready.control;
  const [own, theirs] = [agent.stores[0]?.storeId, other.stores[0]?.storeId];
  const upload = await ready.control.uploads.begin(alice, { name: 'disk', size: 10, format: 'raw', storeId: own });
  const mine = agent.receive(upload.id, 5);
  const sealed = {
    size: 10,
    storedSize: 10,
    virtualSize: 10,
    format: 'raw',
    treeDigest: '0'.repeat(64),
    digests: {},
    fingerprint: 'f',
  } as const;
  other.say({ kind: 'upload', upload: { ...mine.upload, state: 'sealed', sealed } });
  other.say({ kind: 'upload', upload: { ...mine.upload, receivedBytes: 9 } });
  other.say({ kind: 'upload', upload: { ...mine.upload, state: 'failed' } });
  const seen = { storeId: own ?? '', name: 'stolen', driver: 'memory', capacity: 1, free: 1, tags: [], problem: null };
  other.say({ kind: 'stores', stores: [seen] });
  // Its reports are taken in order: when this one is, the others were.
  other.say({ kind: 'stores', stores: [{ ...seen, storeId: theirs ?? '', name: 'renamed' }] });
  await until(async () => (await stores.list(admin)).some(({ name }) => name === 'renamed'));
  expect((await stores.list(admin)).find(({ id }) => id === own)).toMatchObject({
    hostId: agent.hostId,
    name: 'default',
  });
  expect(await uploads.get(alice, upload.id)).toMatchObject({ state: 'open', receivedBytes: 0 });
  agent.say(mine);
  await until(async () => (await uploads.get(alice, upload.id)).receivedBytes === 5);
  agent.receive(upload.id, 10);
  const { image } = await uploads.finish(alice, upload.id, {});
  const task = await ready.control.images.verify(alice, image.id);
  const work = { taskId: task.id, generation: 1, doneBytes: 10, totalBytes: 10, problem: null } as const;
  other.say({ kind: 'work', work: { ...work, state: 'done', result: { damaged: [{ offset: 0, length: 10 }] } } });
  other.say({ kind: 'stores', stores: [{ ...seen, storeId: theirs ?? '', name: 'again' }] });
  await until(async () => (await stores.list(admin)).some(({ name }) => name === 'again'));
  expect((await tasks.get(alice, task.id)).state).not.toBe('FAILURE');
  expect((await images.get(alice, image.id)).state).toBe('ready');

  // A disk that was moved is the other host's once its own one has it no more.
  agent.say({ kind: 'stores', stores: [{ ...seen, name: 'default', problem: 'it is not mounted' }] });
  await until(async () => (await stores.list(admin)).find(({ id }) => id === own)?.state === 'failed');
  other.say({ kind: 'stores', stores: [{ ...seen, name: 'moved' }] });
  await until(async () => (await stores.list(admin)).find(({ id }) => id === own)?.hostId === other.hostId);
});

test('pause and resume by a person reach the agent, and late bytes do not undo a pause', async () => {
  await using open = await postgres.open();
  const agent = agentWithRoom();
  await using ready = await testControl(open, [agent]);
  const { uploads, tasks } = ready.control;
  const upload = await begin(ready);
  agent.say(agent.receive(upload.id, 10));
  await until(async () => (await taskState(ready, upload)) === 'RUNNING');
  await expect(tasks.pause(bob, upload.taskId)).rejects.toMatchObject({ code: 'not-found' });
  expect(await tasks.pause(alice, upload.taskId)).toMatchObject({
    state: 'PAUSED',
    cause: 'user',
    actions: ['resume', 'cancel'],
  });
  expect((await tasks.pause(alice, upload.taskId)).state).toBe('PAUSED');
  await expect(uploads.target(alice, upload.id, 'write')).rejects.toMatchObject({ code: 'paused' });
  expect(agent.uploads.get(upload.id)?.report.state).toBe('paused');
  agent.say(agent.receive(upload.id, 20));
  await until(async () => (await uploads.get(alice, upload.id)).receivedBytes === 20);
  expect(await taskState(ready, upload)).toBe('PAUSED user');
  expect((await tasks.resume(alice, upload.taskId)).state).toBe('RUNNING');
  expect(agent.uploads.get(upload.id)?.report.state).toBe('open');
  expect((await tasks.cancel(alice, upload.taskId)).state).toBe('CANCELLED');
  expect((await tasks.cancel(alice, upload.taskId)).state).toBe('CANCELLED');
  await expect(tasks.resume(alice, upload.taskId)).rejects.toMatchObject({ code: 'conflict' });
  expect((await uploads.get(alice, upload.id)).state).toBe('cancelled');
});

test('when control comes back it meets the agent: sealed, paused, lost, ended and half-finished uploads', async () => {
  await using open = await postgres.open();
  const agent = agentWithRoom();
  const all: Record<'sealed' | 'lost' | 'fresh' | 'ended' | 'finishing' | 'paused', Upload> = await (async () => {
    await using ready = await testControl(open, [agent]);
    const names = ['sealed', 'lost', 'fresh', 'ended', 'finishing', 'paused'] as const;
    const made = await Promise.all(names.map(async (name) => [name, await begin(ready, { size: 100 })] as const));
    const uploads = Object.fromEntries(made) as Record<(typeof names)[number], Upload>;
    for (const upload of Object.values(uploads)) {
      if (upload !== uploads.fresh) agent.say(agent.receive(upload.id, 100));
    }
    await until(async () => (await taskState(ready, uploads.paused)) === 'RUNNING');
    for (let i = 0; i < 2; i++) {
      ready.later(3);
      await ready.control.tick();
    }
    // While it is away the agent can be told nothing.
    agent.down = new HawserError('unavailable', 'away');
    await ready.control.tasks.pause(alice, uploads.paused.taskId);
    await ready.control.uploads.cancel(alice, uploads.ended.id);
    await expect(ready.control.uploads.finish(alice, uploads.finishing.id, {})).rejects.toMatchObject({
      code: 'unavailable',
    });
    return uploads;
  })();
  agent.down = undefined;
  // Sealed by the agent while the answer never arrived; two others it has no more.
  await agent.call('finishUpload', { uploadId: all.sealed.id, generation: 1, size: 100, treeDigest: null });
  agent.uploads.delete(all.lost.id);
  agent.uploads.delete(all.fresh.id);

  await using ready = await testControl(open, [agent]);
  const { uploads, images } = ready.control;
  await until(async () => (await images.get(alice, all.sealed.imageId)).state === 'ready');
  await until(async () => (await uploads.get(alice, all.lost.id)).state === 'failed');
  expect((await images.get(alice, all.lost.imageId)).status).toMatch(/lost/);
  await until(() => agent.uploads.get(all.fresh.id)?.report.state === 'open');
  expect((await uploads.get(alice, all.fresh.id)).state).toBe('open');
  await until(() => !agent.uploads.has(all.ended.id));
  await until(() => !agent.uploads.has(all.sealed.id));
  await until(() => agent.uploads.get(all.paused.id)?.report.state === 'paused');
  await until(async () => (await uploads.get(alice, all.finishing.id)).state === 'open');
  expect((await uploads.finish(alice, all.finishing.id, {})).image.state).toBe('ready');
});

test('an upload that the database never heard of keeps its bytes, and one of a store that is away is not lost', async () => {
  await using open = await postgres.open();
  const agent = agentWithRoom();
  const upload = await (async () => {
    await using ready = await testControl(open, [agent]);
    const made = await begin(ready, { size: 100 });
    agent.say(agent.receive(made.id, 50));
    await until(async () => (await taskState(ready, made)) === 'RUNNING');
    return made;
  })();
  const held = agent.uploads.get(upload.id);
  if (held === undefined) throw new Error('not held');
  agent.uploads.delete(upload.id);
  const stray = '00000000-0000-4000-8000-000000000001';
  agent.uploads.set(stray, { ...held, report: { ...held.report, uploadId: stray } });
  for (const store of agent.stores) store.problem = 'the folder is not there';
  await using ready = await testControl(open, [agent]);
  await until(() => ready.lines.some((line) => line.event === 'upload.stray'));
  expect(agent.uploads.has(stray)).toBe(true);
  expect((await ready.control.uploads.get(alice, upload.id)).state).toBe('open');
  expect((await ready.control.stores.list(alice))[0]).toMatchObject({
    state: 'failed',
    status: 'the folder is not there',
  });
});

test('an upload that nobody fills expires, its space comes back, and a finished one never does', async () => {
  await using open = await postgres.open();
  const agent = agentWithRoom();
  await using ready = await testControl(open, [agent], { expireAfterSeconds: 3600 });
  const { uploads, images, stores } = ready.control;
  const idle = await begin(ready);
  const done = await begin(ready, { size: 10 });
  agent.receive(done.id, 10);
  await uploads.finish(alice, done.id, {});
  const pass = (seconds: number) =>
    postgres.query(open.name, `update uploads set expires_at = expires_at - interval '${seconds} seconds'`);
  await pass(3000);
  await ready.control.sweep();
  expect((await uploads.get(alice, idle.id)).state).toBe('open');
  await pass(700);
  await ready.control.sweep();
  expect((await uploads.get(alice, idle.id)).state).toBe('expired');
  expect(await images.get(alice, idle.imageId)).toMatchObject({
    state: 'failed',
    status: 'The upload expired: nothing was received for 60 minutes.',
  });
  expect(await taskState(ready, idle)).toBe('FAILURE expired');
  expect((await stores.list(alice))[0]?.reserved).toBe(0);
  expect(agent.uploads.has(idle.id)).toBe(false);
  expect((await uploads.get(alice, done.id)).state).toBe('sealed');
  expect((await images.get(alice, done.imageId)).state).toBe('ready');
});

test('a host that falls silent is offline, and online again when it is heard', async () => {
  await using open = await postgres.open();
  const agent = agentWithRoom();
  await using ready = await testControl(open, [agent]);
  const { stores, uploads } = ready.control;
  await until(() => agent.met); // its first report, which says at its end that the host was heard, comes no more
  await postgres.query(open.name, `update hosts set seen_at = now() - interval '11 seconds'`);
  await ready.control.tick();
  expect((await stores.list(admin))[0]?.state).toBe('offline');
  await expect(uploads.begin(alice, { name: 'x', format: 'raw' })).rejects.toMatchObject({ code: 'unavailable' });
  ready.later(3);
  agent.say({ kind: 'alive', at: new Date().toISOString() });
  await until(async () => (await stores.list(admin))[0]?.state === 'online');
});

test('verify finds damage and says where; a digest is added to the image; both can be cancelled and begun again', async () => {
  await using open = await postgres.open();
  const agent = agentWithRoom();
  await using ready = await testControl(open, [agent]);
  const { uploads, images, tasks } = ready.control;
  const upload = await begin(ready, { size: 10 });
  await expect(images.verify(alice, upload.imageId)).rejects.toMatchObject({ code: 'conflict' });
  agent.receive(upload.id, 10);
  await uploads.finish(alice, upload.id, {});
  const end = async (task: Task, result: Record<string, unknown>) => {
    const work = agent.work.get(task.id);
    if (work === undefined) throw new Error('no work was started');
    agent.say({ kind: 'work', work: { ...work, state: 'done', doneBytes: 10, result } });
    await until(async () => (await tasks.get(alice, task.id)).endedAt !== null);
    await until(() => !agent.work.has(task.id));
    return tasks.get(alice, task.id);
  };

  const cancelled = await images.digest(alice, upload.imageId, 'sha512');
  expect((await images.digest(alice, upload.imageId, 'sha512')).id).toBe(cancelled.id);
  expect((await tasks.pause(alice, cancelled.id)).state).toBe('PAUSED');
  expect(agent.work.get(cancelled.id)?.state).toBe('paused');
  expect((await tasks.resume(alice, cancelled.id)).state).toBe('RUNNING');
  expect((await tasks.cancel(alice, cancelled.id)).state).toBe('CANCELLED');
  expect(agent.work.has(cancelled.id)).toBe(false);

  const digest = await images.digest(alice, upload.imageId, 'md5');
  const hex = 'c'.repeat(32);
  expect(await end(digest, { algorithm: 'md5', hex })).toMatchObject({ state: 'SUCCESS', result: { hex } });
  expect((await images.get(alice, upload.imageId)).digests).toContainEqual({ algorithm: 'md5', hex });
  expect((await end(await images.verify(alice, upload.imageId), { damaged: [] })).state).toBe('SUCCESS');
  const bad = await end(await images.verify(alice, upload.imageId), { damaged: [{ offset: 4, length: 2 }] });
  expect(bad).toMatchObject({ state: 'FAILURE', cause: 'corrupt' });
  expect(await images.get(alice, upload.imageId)).toMatchObject({ state: 'failed', copies: [{ state: 'failed' }] });
  expect((await images.get(alice, upload.imageId)).status).toMatch(/2 bytes at 4/);
});

test('cancelling the comparison of a finished upload fails its image, and pausing it pauses the work', async () => {
  await using open = await postgres.open();
  const agent = agentWithRoom();
  await using ready = await testControl(open, [agent]);
  const { uploads, images, tasks } = ready.control;
  const upload = await begin(ready, { size: 10 });
  agent.receive(upload.id, 10);
  const digest = { algorithm: 'sha512', hex: 'd'.repeat(128) } as const;
  expect((await uploads.finish(alice, upload.id, { digest })).image.state).toBe('verifying');
  expect((await tasks.pause(alice, upload.taskId)).state).toBe('PAUSED');
  expect(agent.work.get(upload.taskId)?.state).toBe('paused');
  expect((await tasks.resume(alice, upload.taskId)).state).toBe('RUNNING');
  expect((await tasks.cancel(alice, upload.taskId)).state).toBe('CANCELLED');
  expect(agent.work.size).toBe(0);
  expect(await images.get(alice, upload.imageId)).toMatchObject({ state: 'failed', status: 'Cancelled by alice' });
  expect((await uploads.get(alice, upload.id)).state).toBe('sealed');
  // Its bytes stay until somebody removes it.
  expect(agent.copies.size).toBe(1);
  await images.remove(alice, upload.imageId);
  expect(agent.copies.size).toBe(0);
});

test('work that a restarted agent forgot is begun again', async () => {
  await using open = await postgres.open();
  const agent = agentWithRoom();
  const task = await (async () => {
    await using ready = await testControl(open, [agent]);
    const upload = await begin(ready, { size: 10 });
    agent.receive(upload.id, 10);
    await ready.control.uploads.finish(alice, upload.id, {});
    return ready.control.images.verify(alice, upload.imageId);
  })();
  agent.work.clear();
  await using ready = await testControl(open, [agent]);
  await until(() => agent.work.has(task.id));
  expect((await ready.control.tasks.get(alice, task.id)).state).toBe('RUNNING');
});

test('changes come to their owner and to admins, at most four a second for one thing, the last one always', async () => {
  await using open = await postgres.open();
  const agent = agentWithRoom();
  await using ready = await testControl(open, [agent]);
  const heard: Record<string, { readonly at: number; readonly change: Change }[]> = { alice: [], bob: [], admin: [] };
  const leave = [alice, bob, admin].map((actor) =>
    ready.control.changes.subscribe(actor, (change) => heard[actor.user]?.push({ at: performance.now(), change })),
  );
  const upload = await begin(ready);
  for (let bytes = 1; bytes <= 300; bytes++) {
    agent.say(agent.receive(upload.id, bytes));
    if (bytes % 20 === 0) await new Promise((resolve) => setTimeout(resolve, 20));
  }
  const uploads = (actor: string) =>
    (heard[actor] ?? []).flatMap(({ at, change }) => (change.kind === 'upload' ? [{ at, upload: change.upload }] : []));
  await until(() => uploads('alice').at(-1)?.upload.receivedBytes === 300);
  const times = uploads('alice').map(({ at }) => at);
  const gaps = times.slice(1).map((at, i) => at - (times[i] ?? 0));
  expect(Math.min(...gaps)).toBeGreaterThan(200);
  await until(() => uploads('admin').at(-1)?.upload.receivedBytes === 300);
  // Everybody sees Hosts and Stores.
  expect(heard.bob?.filter(({ change }) => change.kind !== 'store' && change.kind !== 'host')).toEqual([]);
  await ready.control.uploads.cancel(alice, upload.id);
  await until(
    () => heard.alice?.some(({ change }) => change.kind === 'image-deleted' && change.id === upload.imageId) ?? false,
  );
  for (const stop of leave) stop();
});

test('the clock of one control that is ahead ends no upload, nor does that of the database while bytes come in', async () => {
  await using open = await postgres.open();
  const agent = agentWithRoom();
  await using ready = await testControl(open, [agent], { expireAfterSeconds: 3600 });
  const upload = await begin(ready);
  agent.say(agent.receive(upload.id, 1000));
  await until(async () => (await taskState(ready, upload)) === 'RUNNING');
  const idle = await begin(ready);
  ready.later(40_000_000);
  await ready.control.sweep();
  expect((await ready.control.uploads.get(alice, idle.id)).state).toBe('open');
  await postgres.query(open.name, `update uploads set expires_at = now() - interval '1 second'`);
  await ready.control.sweep();
  expect((await ready.control.uploads.get(alice, idle.id)).state).toBe('expired');
  expect((await ready.control.uploads.get(alice, upload.id)).state).toBe('open');
});
