import { afterAll, beforeAll, expect, test } from 'vitest';
import { admin, alice, bob, type TestControl, testControl, until } from '../../../test/control.ts';
import { PlainAgent } from '../../../test/plain-agent.ts';
import { type TestPostgres, testPostgres } from '../../../test/postgres.ts';
import { HawserError } from '../../core/errors.ts';
import type { Copy, Image, Placement, Task } from '../../core/nouns.ts';
import type { OpenDatabase } from '../../db/open.ts';

let postgres: TestPostgres;
beforeAll(async () => {
  postgres = await testPostgres();
});
afterAll(async () => {
  await postgres[Symbol.asyncDispose]();
});

const MiB = 1024 * 1024;

/** A host whose agent fetches whatever it is asked to, at once, unless told otherwise. */
function host(name: string, ...stores: string[]): PlainAgent {
  const agent = new PlainAgent(
    stores.map((store) => ({ name: store, free: 100 * MiB })),
    name,
  );
  agent.pulls = 'done';
  return agent;
}

/** Control over plain hosts; its copies are looked after when the test waits. */
class Stage implements AsyncDisposable {
  readonly test: TestControl;
  readonly agents: readonly PlainAgent[];
  readonly #open: OpenDatabase & { readonly name: string };

  private constructor(
    ready: TestControl,
    agents: readonly PlainAgent[],
    open: OpenDatabase & { readonly name: string },
  ) {
    this.test = ready;
    this.agents = agents;
    this.#open = open;
  }

  static async set(agents: readonly PlainAgent[], copies: Readonly<Record<string, unknown>> = {}): Promise<Stage> {
    const open = await postgres.open();
    return new Stage(await testControl(open, agents, {}, { copies }), agents, open);
  }

  get control() {
    return this.test.control;
  }

  /** An Image of 10 bytes that alice uploaded, ready. */
  async uploaded(placement: Partial<Placement> = {}, storeId?: string): Promise<Image> {
    const { uploads } = this.control;
    const upload = await uploads.begin(alice, { name: 'disk', size: 10, format: 'raw', placement, storeId });
    this.agents.find((one) => one.uploads.has(upload.id))?.receive(upload.id, 10);
    return (await uploads.finish(alice, upload.id, {})).image;
  }

  /** Looks after the copies until it is so. */
  async until(isSo: () => boolean | Promise<boolean>): Promise<void> {
    await until(async () => {
      for (const agent of this.agents) if (agent.down === undefined) agent.say({ kind: 'alive', at: '' });
      await this.control.tick();
      return isSo();
    });
  }

  async image(id: string, isSo: (image: Image) => boolean = () => true): Promise<Image> {
    let image = await this.control.images.get(alice, id);
    await this.until(async () => {
      image = await this.control.images.get(alice, id);
      return isSo(image);
    });
    return image;
  }

  async task(kind: Task['kind'], isSo: (task: Task) => boolean = () => true): Promise<Task> {
    let found: Task | undefined;
    await this.until(async () => {
      [found] = (await this.control.tasks.list(alice, { kind, limit: 1 })).items;
      return found !== undefined && isSo(found);
    });
    if (found === undefined) throw new Error('no such task');
    return found;
  }

  /** Two rounds in which nothing may happen. */
  async rounds(): Promise<void> {
    for (let i = 0; i < 2; i++) await this.control.sweep();
  }

  /** As if its agent had been silent for so long. */
  async silent(agent: PlainAgent, seconds: number): Promise<void> {
    await postgres.query(
      this.#open.name,
      `update hosts set online = false, seen_at = now() - interval '${seconds} s' where id = '${agent.hostId}'`,
    );
  }

  /** As if no Copy had been looked at for so long. */
  async unseen(seconds: number): Promise<void> {
    this.test.later(seconds);
    await this.query(`update copies set checked_at = checked_at - interval '${seconds} s'`);
  }

  query(statement: string): Promise<readonly Readonly<Record<string, unknown>>[]> {
    return postgres.query(this.#open.name, statement);
  }

  storeId(name: string): string {
    const store = this.agents.flatMap((agent) => agent.stores).find((one) => one.name === name);
    return store?.storeId ?? '';
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.test[Symbol.asyncDispose]();
    await this.#open[Symbol.asyncDispose]();
  }
}

const ready = (count: number) => (image: Image) =>
  image.copies.filter((copy) => copy.state === 'ready').length === count;
const lie = (image: Image) => image.copies.map((copy) => `${copy.storeName} ${copy.state}`).sort();
function on(image: Image, store: string): Copy {
  const copy = image.copies.find((one) => one.storeName === store);
  if (copy === undefined) throw new Error(`no copy on ${store}`);
  return copy;
}

test('an image that wants two copies gets its second one on another store of the same host', async () => {
  const agent = host('one', 'fast', 'slow');
  await using stage = await Stage.set([agent]);
  const { id, uploadId } = await stage.uploaded({ minCopies: 2 });
  const image = await stage.image(id, ready(2));
  expect(lie(image)).toEqual(['fast ready', 'slow ready']);
  expect(image).toMatchObject({ state: 'ready', status: '', uploadId });
  const tasks = (await stage.control.tasks.list(alice, { limit: 10 })).items;
  expect(tasks.map(({ kind, state, status }) => ({ kind, state, status }))).toEqual([
    {
      kind: 'replicate',
      state: 'SUCCESS',
      status: expect.stringMatching(/^Copied from (fast|slow) on one to (fast|slow) on one$/),
    },
    { kind: 'upload', state: 'SUCCESS', status: 'Uploaded' },
  ]);
  await stage.until(() => agent.uploads.size === 0);
  expect(agent.copies.size).toBe(2);
  expect((await stage.control.stores.list(admin)).map((store) => store.reserved)).toEqual([0, 0]);
});

test('copies go to other hosts first, where the tags say, and a missing store is told', async () => {
  const [one, two, three] = [host('one', 'a', 'b'), host('two', 'c'), host('three', 'd')];
  await using stage = await Stage.set([one, two, three]);
  const { stores, images } = stage.control;
  for (const name of ['a', 'b', 'c']) await stores.change(admin, stage.storeId(name), { tags: ['ssd', 'x'] });
  const { id } = await stage.uploaded({ minCopies: 2, storeTags: ['ssd'] }, stage.storeId('a'));
  expect(lie(await stage.image(id, ready(2)))).toEqual(['a ready', 'c ready']);
  await images.change(alice, id, { placement: { minCopies: 4 } });
  const short = await stage.image(id, (image) => ready(3)(image) && image.status !== '');
  expect(lie(short)).toEqual(['a ready', 'b ready', 'c ready']);
  expect(short.status).toMatch(/^3 of 4 copies are good.*Store "d" of host "three": The tag ssd is missing there/);
  await images.change(alice, id, { placement: { minCopies: 3 } });
  await stage.image(id, (image) => image.status === '');
});

test.each(['before', 'after'] as const)(
  'a target that dies %s it has opened a copy begins the same one when it is back',
  async (when) => {
    const [one, two] = [host('one', 'a'), host('two', 'b')];
    await using stage = await Stage.set([one, two]);
    two.openBreaks = when;
    two.pulls = 'done';
    const { id } = await stage.uploaded({ minCopies: 2 }, stage.storeId('a'));
    expect(lie(await stage.image(id, ready(2)))).toEqual(['a ready', 'b ready']);
    const { items } = await stage.control.tasks.list(alice, { kind: 'replicate', limit: 10 });
    expect(items.map(({ state }) => state)).toEqual(['SUCCESS']);
    expect(two.calls.filter((call) => call === 'openUpload')).toHaveLength(when === 'before' ? 2 : 1);
  },
);

test('a copy on demand: one at a time, none twice on a store, paused, resumed, cancelled', async () => {
  const agent = host('one', 'a', 'b', 'c');
  agent.pulls = 'wait';
  await using stage = await Stage.set([agent]);
  const { copies, tasks, uploads } = stage.control;
  const { id } = await stage.uploaded({}, stage.storeId('a'));
  await expect(copies.add(bob, id, undefined)).rejects.toMatchObject({ code: 'not-found' });
  await expect(copies.add(alice, id, stage.storeId('a'))).rejects.toMatchObject({ code: 'already-exists' });
  const task = await copies.add(alice, id, stage.storeId('b'));
  expect(task).toMatchObject({ kind: 'replicate', totalBytes: 10 });
  expect((await copies.add(alice, id, undefined)).id).toBe(task.id);
  await stage.until(async () => (await tasks.get(alice, task.id)).state === 'RUNNING');
  expect((await tasks.get(alice, task.id)).status).toMatch(/^From a on one to . on (one|two)$/);
  const uploadId = task.uploadId ?? '';
  agent.say(agent.receive(uploadId, 4, { pull: 'running' }));
  const arriving = await stage.image(id, (image) => on(image, 'b').state === 'in-progress');
  expect(on(arriving, 'b').doneBytes).toBe(4);
  expect((await tasks.get(alice, task.id)).doneBytes).toBe(4);
  await expect(uploads.target(alice, uploadId, 'write')).rejects.toMatchObject({ code: 'conflict' });
  await expect(uploads.finish(alice, uploadId, {})).rejects.toMatchObject({ code: 'conflict' });

  expect((await tasks.pause(alice, task.id)).state).toBe('PAUSED');
  expect(agent.uploads.get(uploadId)?.report.state).toBe('paused');
  const asked = agent.calls.filter((call) => call === 'startPull').length;
  await stage.rounds();
  expect(agent.calls.filter((call) => call === 'startPull').length).toBe(asked);
  expect((await tasks.resume(alice, task.id)).state).toBe('RUNNING');
  await stage.until(() => agent.calls.filter((call) => call === 'startPull').length > asked);
  expect((await tasks.cancel(alice, task.id)).state).toBe('CANCELLED');
  expect(lie(await stage.image(id, (image) => image.copies.length === 1))).toEqual(['a ready']);
  expect(agent.uploads.size).toBe(0);

  agent.pulls = 'done';
  await copies.add(alice, id, stage.storeId('c'));
  expect(lie(await stage.image(id, ready(2)))).toEqual(['a ready', 'c ready']);
});

test('cancelling a missing copy puts it off, and nobody begins it again at once', async () => {
  const agent = host('one', 'a', 'b');
  agent.pulls = 'wait';
  await using stage = await Stage.set([agent]);
  const { id } = await stage.uploaded({ minCopies: 2 });
  const task = await stage.task('replicate');
  await stage.control.tasks.cancel(alice, task.id);
  await stage.rounds();
  expect((await stage.image(id)).copies).toHaveLength(1);
  agent.pulls = 'done';
  stage.test.later(301);
  await stage.image(id, ready(2));
});

test('cleanup passes the ladder: never in use, never too few, never the last one', async () => {
  const agent = host('one', 'a', 'b', 'c');
  await using stage = await Stage.set([agent]);
  const { copies, images } = stage.control;
  const { id } = await stage.uploaded({ minCopies: 2 }, stage.storeId('a'));
  const image = await stage.image(id, ready(2));
  const [first, second] = image.copies.map((copy) => copy.id);
  if (first === undefined || second === undefined) throw new Error('two copies');
  await expect(copies.cleanup(alice, id, [second])).rejects.toMatchObject({ code: 'conflict' });
  await expect(copies.cleanup(alice, id, [first, second])).rejects.toMatchObject({ code: 'last-copy' });
  await expect(copies.cleanup(bob, id, [second])).rejects.toMatchObject({ code: 'not-found' });
  await expect(copies.cleanup(alice, id, [id])).rejects.toMatchObject({ code: 'not-found' });
  await images.change(alice, id, { placement: { minCopies: 1 } });

  const verify = await images.verify(alice, id);
  const read = [...agent.work.keys()];
  expect(read).toEqual([verify.id]);
  const results = await Promise.allSettled([first, second].map((copy) => copies.cleanup(alice, id, [copy])));
  expect(results.map(({ status }) => status).sort()).toEqual(['fulfilled', 'rejected']);
  expect(results.find((one) => one.status === 'rejected')).toMatchObject({ reason: { code: 'in-use' } });
  expect((await images.get(alice, id)).copies).toHaveLength(1);
  expect(agent.copies.size).toBe(1);
  await stage.control.tasks.cancel(alice, verify.id);
  const [last] = (await images.get(alice, id)).copies;
  await expect(copies.cleanup(alice, id, [last?.id ?? ''])).rejects.toMatchObject({ code: 'last-copy' });
});

test('a store that is emptied: a copy elsewhere first, then this one goes; with nowhere to go it stays', async () => {
  const [one, two] = [host('one', 'a'), host('two', 'b')];
  await using stage = await Stage.set([one, two]);
  const { stores } = stage.control;
  await stores.change(admin, stage.storeId('b'), { enabled: false });
  const { id } = await stage.uploaded({}, stage.storeId('a'));
  await stores.change(admin, stage.storeId('a'), { evicting: true });
  const stuck = await stage.image(id, (image) => image.status !== '');
  expect(lie(stuck)).toEqual(['a ready']);
  expect(stuck.status).toMatch(/"b" of host "two": The store is disabled/);
  two.pulls = 'wait';
  await stores.change(admin, stage.storeId('b'), { enabled: true });
  const task = await stage.task('replicate', (found) => found.state === 'RUNNING');
  await stage.rounds();
  expect(lie(await stage.image(id))).toEqual(['a ready', 'b pending']);
  two.say(two.receive(task.uploadId ?? '', 10, { pull: 'done' }));
  expect(lie(await stage.image(id, (image) => image.copies.length === 1))).toEqual(['b ready']);
  expect(one.copies.size).toBe(0);
});

test('a silent host: its copies stop counting, are made elsewhere, and are good again when it is back', async () => {
  const [one, two, three] = [host('one', 'a'), host('two', 'b'), host('three', 'c')];
  await using stage = await Stage.set([one, two, three], { awaySeconds: 60 });
  const { id } = await stage.uploaded({ minCopies: 2 }, stage.storeId('a'));
  const both = await stage.image(id, ready(2));
  const away = lie(both).includes('b ready') ? two : three;
  const name = away.stores[0]?.name ?? '';
  await stage.silent(away, 30);
  await stage.rounds();
  expect(on(await stage.control.images.get(alice, id), name).state).toBe('ready');
  await stage.silent(away, 61);
  stage.test.later(16);
  await until(async () => {
    await stage.control.tick();
    return (
      ready(2)(await stage.control.images.get(alice, id)) &&
      (await stage.control.images.get(alice, id)).copies.length === 3
    );
  });
  expect(on(await stage.control.images.get(alice, id), name)).toMatchObject({ state: 'unknown' });
  away.say(away.full());
  const back = await stage.image(id, ready(3));
  expect(back.status).toBe('');
  await stage.rounds();
  expect((await stage.image(id)).copies).toHaveLength(3);
});

test('a host that falls silent while it fetches: the copy is made elsewhere, and what it has of it goes when it is back', async () => {
  const [one, two, three] = [host('one', 'a'), host('two', 'b'), host('three', 'c')];
  await using stage = await Stage.set([one, two, three], { awaySeconds: 60 });
  two.pulls = 'wait';
  three.pulls = 'wait';
  const { id } = await stage.uploaded({ minCopies: 2 }, stage.storeId('a'));
  await stage.image(id, (image) => image.copies.length === 2);
  await until(() => two.uploads.size + three.uploads.size === 1);
  const [away, other] = two.uploads.size > 0 ? [two, three] : [three, two];
  const [stale = ''] = away.uploads.keys();
  other.pulls = 'done';
  away.down = new HawserError('unavailable', 'cut off');
  await stage.silent(away, 30);
  await stage.rounds();
  expect((await stage.control.uploads.get(alice, stale)).state).toBe('open');
  await stage.silent(away, 61);
  stage.test.later(16);
  await stage.image(id, ready(2));
  expect((await stage.control.uploads.get(alice, stale)).state).toBe('failed');
  expect(other.copies.size).toBe(1);
  expect(
    (await stage.control.tasks.list(alice, { kind: 'replicate', limit: 9 })).items.map((task) => task.state),
  ).toEqual(['SUCCESS', 'FAILURE']);

  away.down = undefined;
  away.say(away.full());
  await stage.until(() => !away.uploads.has(stale));
  expect(lie(await stage.image(id, (image) => image.copies.length === 2))).toHaveLength(2);
});

test('a host that falls silent while it fetches, and nobody else can: it goes on when it is back', async () => {
  const [one, two] = [host('one', 'a'), host('two', 'b')];
  await using stage = await Stage.set([one, two], { awaySeconds: 60 });
  two.pulls = 'wait';
  const { id } = await stage.uploaded({ minCopies: 2 }, stage.storeId('a'));
  await stage.image(id, (image) => image.copies.length === 2);
  await stage.until(() => [...two.uploads.values()].some(({ report }) => report.pull === 'running'));
  const [begun = ''] = two.uploads.keys();
  await stage.silent(two, 61);
  stage.test.later(16);
  await stage.rounds();
  expect((await stage.control.uploads.get(alice, begun)).state).toBe('open');
  two.say(two.receive(begun, 10, { pull: 'done' }));
  await stage.image(id, ready(2));
});

test('a file that is gone is noticed and made again; the last one fails its image, which can be uploaded again', async () => {
  const agent = host('one', 'a', 'b');
  await using stage = await Stage.set([agent], { recheckSeconds: 100 });
  const { id } = await stage.uploaded({ minCopies: 2 }, stage.storeId('a'));
  const first = on(await stage.image(id, ready(2)), 'b');
  agent.copies.delete(first.key);
  await stage.rounds();
  expect(on(await stage.image(id), 'b').id).toBe(first.id);
  await stage.unseen(101);
  const repaired = await stage.image(id, (image) => ready(2)(image) && on(image, 'b').id !== first.id);
  expect(lie(repaired)).toEqual(['a ready', 'b ready']);

  agent.pulls = 'wait';
  agent.copies.clear();
  await stage.unseen(101);
  const lost = await stage.image(id, (image) => image.state === 'failed');
  expect(lost.status).toMatch(/in store "[ab]" of host "one" is gone/);
  expect(lost.status).toMatch(/upload the image again/);
  await stage.rounds();
  expect((await stage.image(id)).state).toBe('failed');
  const again = await stage.control.uploads.begin(alice, { name: 'disk', size: 10, format: 'raw', imageId: id });
  agent.receive(again.id, 10);
  expect((await stage.control.uploads.finish(alice, again.id, {})).image.state).toBe('ready');
  agent.pulls = 'done';
  expect(lie(await stage.image(id, ready(2)))).toEqual(['a ready', 'b ready']);
});

test('a copy that a control with a clock ahead had looked at was left alone until that time came', async () => {
  const agent = host('one', 'a', 'b');
  await using stage = await Stage.set([agent], { recheckSeconds: 100 });
  const { id } = await stage.uploaded({ minCopies: 2 }, stage.storeId('a'));
  const gone = on(await stage.image(id, ready(2)), 'b');
  await stage.query(`update copies set checked_at = now() + interval '10 years'`);
  agent.copies.delete(gone.key);
  stage.test.later(16);
  await stage.image(id, (image) => ready(2)(image) && on(image, 'b').id !== gone.id);
  expect(
    await stage.query(`select 1 from copies where state = 'ready' and checked_at > now() + interval '1 day'`),
  ).toEqual([]);
});

test('a copy that was touched is compared before it counts again: good with its new fingerprint, or damaged and repaired', async () => {
  const agent = host('one', 'a', 'b');
  await using stage = await Stage.set([agent], { recheckSeconds: 100 });
  const { id } = await stage.uploaded({ minCopies: 2 }, stage.storeId('a'));
  const touched = on(await stage.image(id, ready(2)), 'b');
  agent.touched.set(touched.key, 'g');
  await stage.unseen(101);
  await stage.image(id, (image) => on(image, 'b').state === 'unknown');
  const verify = await stage.task('verify', (task) => task.state === 'RUNNING');
  const ends = (damaged: readonly unknown[]) => {
    for (const [taskId, report] of agent.work)
      agent.say({ kind: 'work', work: { ...report, taskId, state: 'done', result: { damaged } } });
  };
  ends([]);
  const good = on(await stage.image(id, ready(2)), 'b');
  expect(good).toMatchObject({ id: touched.id, fingerprint: 'g', status: '' });
  expect((await stage.control.tasks.get(alice, verify.id)).state).toBe('SUCCESS');

  agent.touched.set(touched.key, 'h');
  await stage.unseen(101);
  await stage.image(id, (image) => on(image, 'b').state === 'unknown');
  await stage.until(() => agent.work.size > 0);
  agent.pulls = 'wait';
  ends([{ offset: 0, length: 10 }]);
  const damaged = await stage.image(id, (image) => image.copies.length === 3);
  expect(damaged.state).toBe('ready');
  expect(damaged.copies.find((copy) => copy.id === touched.id)).toMatchObject({ state: 'failed' });
  const repair = damaged.copies.find((copy) => copy.state === 'pending');
  expect(repair?.storeName).toBe('b');
  const task = await stage.task('replicate', (one) => one.state === 'RUNNING');
  agent.say(agent.receive(task.uploadId ?? '', 10, { pull: 'done' }));
  const repaired = await stage.image(id, (image) => ready(2)(image) && image.copies.length === 2);
  expect(on(repaired, 'b').id).toBe(repair?.id);
});

const url = (text: string) => ({ kind: 'url', url: text, decompress: 'none' }) as const;
const treeOf = (image: Image) => image.digests.find((digest) => digest.algorithm === 'tree-sha256');

test('a download is fetched at once, of unknown size; the same key is the same image', async () => {
  const agent = host('one', 'a', 'b');
  await using stage = await Stage.set([agent]);
  const { copies, tasks } = stage.control;
  const request = {
    name: 'debian',
    source: url('https://user:secret@images.example/debian.img?token=secret'),
    format: 'auto',
    placement: { minCopies: 2 },
    idempotencyKey: 'k',
  } as const;
  const made = await copies.create(alice, request);
  expect(made).toMatchObject({ state: 'pending', origin: 'download', declaredSize: null, name: 'debian' });
  expect((await copies.create(alice, request)).id).toBe(made.id);
  await expect(copies.create(alice, { ...request, name: 'other' })).rejects.toMatchObject({ code: 'conflict' });
  const image = await stage.image(made.id, ready(2));
  expect(image).toMatchObject({ state: 'ready', size: 10, format: 'raw' });
  const task = await tasks.get(alice, image.taskId ?? '');
  expect(task).toMatchObject({ kind: 'download', state: 'SUCCESS', status: 'Downloaded' });
  const said = (await tasks.events(alice, task.id)).map((event) => event.status);
  expect(said).toContainEqual(expect.stringMatching(/^From images\.example to [ab] on one$/));
  expect(said.join()).not.toContain('secret');
  for (const bad of ['ftp://a/b', 'file:///etc/passwd', 'nonsense']) {
    await expect(
      copies.create(alice, { ...request, idempotencyKey: undefined, source: url(bad) }),
    ).rejects.toMatchObject({ code: 'bad-request' });
  }
});

test('a download that fails for now is paused with the reason and tried again, later each time; for good it fails', async () => {
  const agent = host('one', 'a');
  await using stage = await Stage.set([agent]);
  const { copies, tasks, images } = stage.control;
  agent.pulls = { code: 'unavailable', message: 'The server answered 503.' };
  const made = await copies.create(alice, { name: 'd', source: url('http://example/d'), format: 'auto' });
  const task = await stage.task('download', (one) => one.state === 'PAUSED');
  expect(task).toMatchObject({ cause: 'unavailable', actions: ['resume', 'cancel'] });
  expect(task.status).toMatch(/^The server answered 503. It is tried again at ..:..:.. UTC.$/);
  const asked = () => agent.calls.filter((call) => call === 'startPull').length;
  const paused = async (times: number) => {
    await stage.until(async () => {
      const events = await tasks.events(alice, task.id);
      return events.filter((event) => event.to === 'PAUSED').length === times;
    });
    expect(asked()).toBe(times);
  };
  await paused(1);
  for (const [wait, times] of [
    [59, 1],
    [2, 2],
    [118, 2],
    [3, 3],
  ] as const) {
    stage.test.later(wait);
    await stage.rounds();
    await paused(times);
  }
  await tasks.resume(alice, task.id);
  await paused(4);
  agent.pulls = { code: 'forbidden', message: 'The server answered 403.' };
  await tasks.resume(alice, task.id);
  const failed = await stage.task('download', (one) => one.state === 'FAILURE');
  expect(failed).toMatchObject({ status: 'The server answered 403.', cause: 'forbidden' });
  expect(await images.get(alice, made.id)).toMatchObject({ state: 'failed', status: 'The server answered 403.' });
  stage.test.later(3600);
  await stage.rounds();
  expect(asked()).toBe(5);
  expect((await stage.control.stores.list(admin))[0]?.reserved).toBe(0);
});

test('a download whose digest is another one fails; one that lost all its copies is fetched again, the same bytes only', async () => {
  const agent = host('one', 'a');
  await using stage = await Stage.set([agent], { recheckSeconds: 100 });
  const { copies } = stage.control;
  const wrong = { algorithm: 'tree-sha256', hex: 'a'.repeat(64) } as const;
  const bad = await copies.create(alice, { name: 'd', source: url('http://example/d'), format: 'raw', digest: wrong });
  expect((await stage.image(bad.id, (image) => image.state === 'failed')).status).toBe('tree');
  const made = await copies.create(alice, { name: 'd', source: url('http://example/d'), format: 'raw' });
  const first = await stage.image(made.id, (image) => image.state === 'ready');
  agent.pulls = 'wait';
  agent.copies.clear();
  await stage.unseen(101);
  const lost = await stage.image(made.id, (image) => image.state === 'in-progress');
  expect(lost.taskId).not.toBe(first.taskId);
  const upload = await stage.control.uploads.get(alice, lost.uploadId ?? '');
  expect(upload).toMatchObject({ purpose: 'fill', expectedDigest: treeOf(first) });
  await stage.task('download', (task) => task.state === 'RUNNING');
  const held = agent.uploads.get(upload.id);
  const digest = treeOf(first)?.hex ?? null;
  if (held !== undefined)
    held.source = { kind: 'copy', url: '', ticket: '', ca: null, size: 10, treeDigest: digest, local: null };
  agent.say(agent.receive(upload.id, 10, { pull: 'done' }));
  const again = await stage.image(made.id, (image) => image.state === 'ready' && image.copies.length === 1);
  expect(treeOf(again)).toEqual(treeOf(first));

  agent.copies.clear();
  await stage.unseen(101);
  await stage.image(made.id, (image) => image.state === 'in-progress');
  const other = (await stage.image(made.id)).uploadId ?? '';
  await stage.until(() => agent.uploads.has(other));
  agent.say(agent.receive(other, 10, { pull: 'done' }));
  expect((await stage.image(made.id, (image) => image.state === 'failed')).status).toBe('tree');
  stage.test.later(3600);
  await stage.rounds();
  expect((await stage.image(made.id)).state).toBe('failed');
});

test('a clone comes from a ready copy with the same bytes, and only of what one may see', async () => {
  const [one, two] = [host('one', 'a'), host('two', 'b')];
  await using stage = await Stage.set([one, two]);
  const { copies } = stage.control;
  const from = await stage.uploaded({}, stage.storeId('a'));
  const source = { kind: 'copy', imageId: from.id } as const;
  const request = { name: 'clone', source, format: 'auto', storeId: stage.storeId('b') } as const;
  await expect(copies.create(bob, request)).rejects.toMatchObject({ code: 'not-found' });
  const made = await copies.create(alice, request);
  expect(made).toMatchObject({ origin: 'clone', declaredSize: 10, format: 'raw' });
  const clone = await stage.image(made.id, (image) => image.state === 'ready');
  expect(treeOf(clone)).toEqual(treeOf(from));
  expect(lie(clone)).toEqual(['b ready']);
  expect((await stage.task('clone')).status).toBe('Cloned');
  two.pulls = 'wait';
  const gone = await copies.create(alice, request);
  await stage.task('clone', (task) => task.state === 'RUNNING');
  expect((await stage.image(from.id)).copies).toHaveLength(1);
  await expect(copies.cleanup(alice, from.id, [from.copies[0]?.id ?? ''])).rejects.toMatchObject({ code: 'in-use' });
  await stage.control.images.remove(alice, from.id);
  two.say(two.receive(gone.uploadId ?? '', 4, { pull: 'failed', problem: { code: 'not-found', message: 'gone' } }));
  await stage.task('clone', (task) => task.state === 'PAUSED');
  stage.test.later(61);
  expect((await stage.image(gone.id, (image) => image.state === 'failed')).status).toMatch(/cloned is not there/);
});

test('a source that fails is left for another one at once; a damaged one is compared', async () => {
  const [one, two, three] = [host('one', 'a'), host('two', 'b'), host('three', 'c')];
  await using stage = await Stage.set([one, two, three]);
  const { id } = await stage.uploaded({ minCopies: 2 }, stage.storeId('a'));
  const target = lie(await stage.image(id, ready(2))).includes('b ready') ? three : two;
  target.pulls = 'wait';
  const task = await stage.control.copies.add(alice, id, undefined);
  const uploadId = task.uploadId ?? '';
  const from = () => {
    const source = target.uploads.get(uploadId)?.source;
    return source?.kind === 'copy' ? source.url : undefined;
  };
  await stage.until(() => from() !== undefined);
  const first = from();
  target.say(target.receive(uploadId, 4, { pull: 'failed', problem: { code: 'corrupt', message: 'block 0' } }));
  await stage.until(() => from() !== first);
  expect(stage.agents.reduce((sum, agent) => sum + agent.work.size, 0)).toBe(1);
  await stage.until(async () => (await stage.control.tasks.get(alice, task.id)).state === 'RUNNING');
  target.say(target.receive(uploadId, 10, { pull: 'done', problem: null }));
  await stage.image(id, ready(3));
});

test('an agent that was restarted is asked again, and what it lost before a byte came is opened again', async () => {
  const [one, two] = [host('one', 'a'), host('two', 'b')];
  two.pulls = 'wait';
  await using stage = await Stage.set([one, two]);
  const { id } = await stage.uploaded({ minCopies: 2 }, stage.storeId('a'));
  const task = await stage.task('replicate', (found) => found.state === 'RUNNING');
  const uploadId = task.uploadId ?? '';
  const asked = () => two.calls.filter((call) => call === 'startPull').length;
  two.say(two.receive(uploadId, 4, { pull: 'running' }));
  await stage.image(id, (image) => on(image, 'b').state === 'in-progress');
  two.receive(uploadId, 4, { pull: null });
  two.say(two.full());
  await stage.until(() => asked() === 2);
  two.pulls = 'done';
  // For so long one control alone may ask.
  stage.test.later(21);
  two.receive(uploadId, 4, { pull: null });
  two.say(two.full());
  expect(lie(await stage.image(id, ready(2)))).toEqual(['a ready', 'b ready']);
});

test('a copy that cannot be made is tried elsewhere, and not more often than the waiting says', async () => {
  const [one, two] = [host('one', 'a'), host('two', 'b')];
  two.pulls = { code: 'store-full', message: 'no space is left' };
  await using stage = await Stage.set([one, two]);
  const { id } = await stage.uploaded({ minCopies: 2 }, stage.storeId('a'));
  const failed = await stage.task('replicate', (task) => task.state === 'FAILURE');
  expect(failed).toMatchObject({ cause: 'store-full', status: 'no space is left' });
  await stage.image(id, (image) => image.copies.length === 1);
  const asked = () => two.calls.filter((call) => call === 'startPull').length;
  await stage.rounds();
  expect(asked()).toBe(1);
  stage.test.later(61);
  await stage.until(() => asked() === 2);
  await stage.task('replicate', (task) => task.state === 'FAILURE' && task.id !== failed.id);
  stage.test.later(100);
  await stage.rounds();
  expect(asked()).toBe(2);
  two.pulls = 'done';
  stage.test.later(21);
  await stage.image(id, ready(2));
});

test('no more copies at once for a host than it may fetch, and none when that is off', async () => {
  const [one, two] = [host('one', 'a'), host('two', 'b')];
  two.pulls = 'wait';
  await using stage = await Stage.set([one, two], { perHost: 2 });
  const images = await Promise.all([1, 2, 3].map(() => stage.uploaded({ minCopies: 2 }, stage.storeId('a'))));
  await stage.until(() => two.uploads.size === 2);
  await stage.rounds();
  expect(two.uploads.size).toBe(2);
  two.pulls = 'done';
  for (const uploadId of two.uploads.keys()) two.say(two.receive(uploadId, 10, { pull: 'done' }));
  for (const image of images) await stage.image(image.id, ready(2));

  await using off = await Stage.set([host('three', 'c'), host('four', 'd')], { perHost: 0 });
  const { id } = await off.uploaded({ minCopies: 2 });
  expect((await off.image(id, (image) => image.status !== '')).status).toMatch(/copies.perHost is 0/);
  expect((await off.image(id)).copies).toHaveLength(1);
});
