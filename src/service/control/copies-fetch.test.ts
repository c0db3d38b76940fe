import { afterAll, beforeAll, expect, test } from 'vitest';
import { alice, bob, type TestControl, testControl, until } from '../../../test/control.ts';
import { PlainAgent } from '../../../test/plain-agent.ts';
import { type TestPostgres, testPostgres } from '../../../test/postgres.ts';
import { HawserError } from '../../core/errors.ts';
import type { Image, Task } from '../../core/nouns.ts';

let postgres: TestPostgres;
beforeAll(async () => {
  postgres = await testPostgres();
});
afterAll(() => postgres?.[Symbol.asyncDispose]());

const MiB = 1024 * 1024;
const url = (text: string) => ({ kind: 'url', url: text, decompress: 'none' }) as const;
const refused = { code: 'forbidden', message: 'The server answered 403.' } as const;

function agentOf(name: string, ...stores: string[]): PlainAgent {
  const agent = new PlainAgent(
    stores.map((store) => ({ name: store, free: 100 * MiB })),
    name,
  );
  agent.pulls = 'done';
  return agent;
}

async function imageIs({ control }: TestControl, id: string, isSo: (image: Image) => boolean): Promise<Image> {
  let image = await control.images.get(alice, id);
  await until(async () => {
    await control.tick();
    image = await control.images.get(alice, id);
    return isSo(image);
  });
  return image;
}

async function taskIs({ control }: TestControl, kind: Task['kind'], isSo: (task: Task) => boolean): Promise<Task> {
  let found: Task | undefined;
  await until(async () => {
    await control.tick();
    [found] = (await control.tasks.list(alice, { kind, limit: 1 })).items;
    return found !== undefined && isSo(found);
  });
  if (found === undefined) throw new Error('no such task');
  return found;
}

async function uploaded({ control }: TestControl, agent: PlainAgent, minCopies = 1): Promise<Image> {
  const storeId = agent.stores[0]?.storeId;
  const begun = { name: 'disk', size: 10, format: 'raw', storeId, placement: { minCopies } } as const;
  const upload = await control.uploads.begin(alice, begun);
  agent.receive(upload.id, 10);
  return (await control.uploads.finish(alice, upload.id, {})).image;
}

const is = (state: Image['state']) => (image: Image) => image.state === state;

test('a failed download had to be made as a new image: it is fetched again in its place', async () => {
  await using open = await postgres.open();
  const agent = agentOf('one', 'a');
  await using ready = await testControl(open, [agent]);
  const { copies } = ready.control;
  agent.pulls = refused;
  const { id } = await copies.create(alice, { name: 'd', source: url('http://example/d'), format: 'auto' });
  const failed = await imageIs(ready, id, is('failed'));
  await expect(copies.fetch(bob, id)).rejects.toMatchObject({ code: 'not-found' });
  agent.pulls = 'wait';
  const again = await copies.fetch(alice, id);
  expect(again).toMatchObject({ id, state: 'in-progress', name: 'd' });
  expect(again.taskId).not.toBe(failed.taskId);
  const upload = await ready.control.uploads.get(alice, again.uploadId ?? '');
  expect((await copies.fetch(alice, id)).uploadId).toBe(upload.id);
  await taskIs(ready, 'download', (task) => task.state === 'RUNNING');
  agent.say(agent.receive(upload.id, 10, { pull: 'done' }));
  await imageIs(ready, id, is('ready'));
  await expect(copies.fetch(alice, id)).rejects.toMatchObject({ code: 'conflict' });
});

test('a download whose digest was wrong is fetched again: what lay there makes room first', async () => {
  await using open = await postgres.open();
  const agent = agentOf('one', 'a');
  await using ready = await testControl(open, [agent]);
  const { copies } = ready.control;
  const digest = { algorithm: 'sha256', hex: 'a'.repeat(64) } as const;
  agent.flat = { sha256: 'b'.repeat(64) };
  const { id } = await copies.create(alice, { name: 'd', source: url('http://example/d'), format: 'raw', digest });
  await imageIs(ready, id, is('failed'));
  expect(agent.copies.size).toBe(1);
  agent.flat = { sha256: digest.hex };
  await copies.fetch(alice, id);
  const image = await imageIs(ready, id, is('ready'));
  expect(image.copies).toHaveLength(1);
  await until(() => agent.copies.size === 1);
});

test('a failed clone is made again from its source; an upload is never fetched again', async () => {
  await using open = await postgres.open();
  const agent = agentOf('one', 'a');
  await using ready = await testControl(open, [agent]);
  const { copies, uploads } = ready.control;
  const source = await uploaded(ready, agent);
  await expect(copies.fetch(alice, source.id)).rejects.toMatchObject({ code: 'conflict' });
  agent.pulls = { code: 'format-unsafe', message: 'no' };
  const clone = await copies.create(alice, { name: 'c', source: { kind: 'copy', imageId: source.id }, format: 'auto' });
  await imageIs(ready, clone.id, is('failed'));
  agent.pulls = 'done';
  await copies.fetch(alice, clone.id);
  expect((await imageIs(ready, clone.id, is('ready'))).origin).toBe('clone');

  const begun = await uploads.begin(alice, { name: 'u', size: 5, format: 'raw' });
  await uploads.cancel(alice, begun.id);
  agent.copies.clear();
  ready.later(16);
  await postgres.query(open.name, 'update copies set checked_at = null');
  await imageIs(ready, source.id, is('failed'));
  await expect(copies.fetch(alice, source.id)).rejects.toMatchObject({
    code: 'conflict',
    message: expect.stringContaining('Upload it again'),
  });
});

test('a refused URL left a failed image behind: it is refused at once, and nothing is left', async () => {
  await using open = await postgres.open();
  const agent = agentOf('one', 'a');
  const urlRefusal = (text: string) =>
    text.includes('127.0.0.1') ? new HawserError('forbidden', 'inside') : undefined;
  await using ready = await testControl(open, [agent], {}, { urlRefusal });
  const { copies, images } = ready.control;
  const create = (text: string) => copies.create(alice, { name: 'd', source: url(text), format: 'auto' });
  await expect(create('http://127.0.0.1/x')).rejects.toMatchObject({ code: 'forbidden' });
  await expect(create('ftp://example/x')).rejects.toMatchObject({ code: 'bad-request' });
  expect((await images.list(alice, { limit: 9 })).items).toEqual([]);
  expect(agent.calls.filter((call) => call === 'openUpload')).toEqual([]);
});

test('nobody could tell which copy a replication read: its task says from where to where, then and afterwards', async () => {
  await using open = await postgres.open();
  const [one, two] = [agentOf('one', 'a'), agentOf('two', 'b')];
  two.pulls = 'wait';
  await using ready = await testControl(open, [one, two]);
  await uploaded(ready, one, 2);
  const running = await taskIs(ready, 'replicate', (task) => task.state === 'RUNNING' && task.result !== null);
  expect(running.status).toBe('From a on one to b on two');
  const [uploadId = ''] = two.uploads.keys();
  two.say(two.receive(uploadId, 10, { pull: 'done' }));
  const ended = await taskIs(ready, 'replicate', (task) => task.state === 'SUCCESS');
  expect(ended).toMatchObject({
    status: 'Copied from a on one to b on two',
    result: { from: 'a on one', to: 'b on two' },
  });
});

test('a copy whose file was gone and came back stayed failed: it is compared, and counts again', async () => {
  await using open = await postgres.open();
  const agent = agentOf('one', 'a');
  await using ready = await testControl(open, [agent], {}, { copies: { recheckSeconds: 100 } });
  const { id, copies } = await uploaded(ready, agent);
  const key = copies[0]?.key ?? '';
  const look = async () => {
    ready.later(101);
    await postgres.query(open.name, `update copies set checked_at = checked_at - interval '101 s'`);
    return ready.control.tick();
  };
  agent.copies.delete(key);
  await look();
  await imageIs(ready, id, is('failed'));
  await look();
  expect((await ready.control.images.get(alice, id)).copies[0]?.state).toBe('failed');

  agent.copies.add(key);
  await look();
  const compared = await imageIs(ready, id, (image) => image.copies[0]?.state === 'unknown');
  expect(compared.state).toBe('failed');
  const ends = async (damaged: readonly unknown[]) => {
    await until(() => agent.work.size > 0);
    for (const report of agent.work.values())
      agent.say({ kind: 'work', work: { ...report, state: 'done', result: { damaged } } });
  };
  await ends([]);
  const back = await imageIs(ready, id, is('ready'));
  expect(back.copies).toMatchObject([{ key, state: 'ready', status: '' }]);

  // What comes back damaged is failed for good.
  agent.copies.delete(key);
  await until(() => agent.work.size === 0);
  await look();
  await imageIs(ready, id, is('failed'));
  agent.copies.add(key);
  await look();
  await ends([{ offset: 0, length: 10 }]);
  await imageIs(ready, id, (image) => image.copies[0]?.state === 'failed');
  await until(() => agent.work.size === 0);
  await look();
  await look();
  expect(agent.work.size).toBe(0);
});

test('the same cleanup again was not-found: it answers the image, and only a strange id is refused', async () => {
  await using open = await postgres.open();
  const agent = agentOf('one', 'a', 'b');
  await using ready = await testControl(open, [agent]);
  const { copies, images } = ready.control;
  const { id } = await uploaded(ready, agent, 2);
  const both = await imageIs(ready, id, (image) => image.copies.filter((copy) => copy.state === 'ready').length === 2);
  await images.change(alice, id, { placement: { minCopies: 1 } });
  const gone = both.copies[1]?.id ?? '';
  const first = await copies.cleanup(alice, id, [gone]);
  expect(first.copies.map((copy) => copy.id)).toEqual([both.copies[0]?.id]);
  expect((await copies.cleanup(alice, id, [gone])).copies).toHaveLength(1);
  const strange = both.copies[0]?.imageId ?? '';
  await expect(copies.cleanup(alice, id, [strange])).rejects.toMatchObject({ code: 'not-found' });
});

test('while a download runs its size was not known, though its server had told it', async () => {
  await using open = await postgres.open();
  const agent = agentOf('one', 'a');
  agent.pulls = 'wait';
  await using ready = await testControl(open, [agent]);
  const { copies, images } = ready.control;
  const made = await copies.create(alice, { name: 'd', source: url('http://example/d'), format: 'auto' });
  expect(made.declaredSize).toBeNull();
  await until(() => agent.uploads.has(made.uploadId ?? ''));
  agent.say(agent.receive(made.uploadId ?? '', 4, { pull: 'running', declaredSize: 1000 }));
  await imageIs(ready, made.id, (image) => image.declaredSize === 1000);
  expect((await images.list(alice, { limit: 1 })).items[0]?.declaredSize).toBe(1000);
  expect((await taskIs(ready, 'download', () => true)).totalBytes).toBe(1000);
});
