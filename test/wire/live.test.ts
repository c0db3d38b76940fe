import { randomBytes, randomUUID } from 'node:crypto';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { WebSocket } from 'ws';
import type { ApiEvent } from '../../src/contract/api/events.ts';
import type { TaskResource } from '../../src/contract/api/task.ts';
import type { UploadResource } from '../../src/contract/api/upload.ts';
import { Caller, MiB, nextUploadWorks } from './caller.ts';
import { secondUser } from './second-user.ts';
import { type Serving, startServing } from './serving.ts';

let serving: Serving;
let api: Caller;

beforeAll(async () => {
  serving = await startServing();
  api = new Caller(serving.api, serving.token);
});
afterAll(async () => {
  await using _ended = serving;
  await nextUploadWorks(api);
});

interface Listener extends AsyncDisposable {
  readonly events: readonly ApiEvent[];
  /** The first event, past or to come, for which `wanted` holds. */
  next(wanted: (event: ApiEvent) => boolean): Promise<ApiEvent>;
}

test.each(['text/event-stream', 'WebSocket'])('%s tells an upload from its begin to its end', async (way) => {
  await using listener = await listen(way, serving.token);
  const bytes = randomBytes(6 * MiB);
  const upload = await api.begin({ name: `seen by ${way}`, size: bytes.length });
  const isTask = (event: ApiEvent, state: string) =>
    event.kind === 'task' && event.task.id === upload.taskId && event.task.state === state;
  await listener.next((event) => event.kind === 'upload' && event.upload.id === upload.id);
  await api.put(upload.id, 0, bytes.subarray(0, 4 * MiB));
  await listener.next((event) => isTask(event, 'RUNNING') && event.kind === 'task' && event.task.doneBytes === 4 * MiB);
  await api.put(upload.id, 4 * MiB, bytes.subarray(4 * MiB));
  await api.finish(upload.id);
  const done = await listener.next((event) => isTask(event, 'SUCCESS'));
  expect(done).toMatchObject({ task: { doneBytes: bytes.length, totalBytes: bytes.length, actions: [], cause: null } });
  await listener.next(
    (event) => event.kind === 'image' && event.image.id === upload.imageId && event.image.state === 'ready',
  );
  await api.ok('DELETE', `/images/${upload.imageId}`);
  await listener.next((event) => event.kind === 'image-deleted' && event.id === upload.imageId);
  expect(listener.events[0]).toMatchObject({ kind: 'hello' });
  const progress = listener.events.flatMap((event) =>
    event.kind === 'task' && event.task.id === upload.taskId ? [event.task.doneBytes] : [],
  );
  expect(progress).toEqual([...progress].sort((a, b) => a - b));
});

test('a second user hears nothing of the first one', async () => {
  await using listener = await listen('text/event-stream', await secondUser(serving, 'erika'));
  const image = await api.makeImage('not for erika', randomBytes(1000));
  const other = api.as(await secondUser(serving, 'erika'));
  const mine = await other.makeImage('for erika', randomBytes(1000));
  await listener.next((event) => event.kind === 'image' && event.image.id === mine.id && event.image.state === 'ready');
  expect(JSON.stringify(listener.events)).not.toContain(image.id);
});

test('the same Idempotency-Key gets the same upload, ten at once too; with another request it is a conflict', async () => {
  const headers = { 'idempotency-key': randomUUID() };
  const request = { name: 'once', size: 5000 };
  const uploads = await Promise.all(Array.from({ length: 10 }, () => api.begin(request, headers)));
  expect(new Set(uploads.map(({ id }) => id)).size).toBe(1);
  const found = await api.ok<{ items: UploadResource[] }>('GET', '/uploads?name=once');
  expect(found.items).toHaveLength(1);
  const other = await api.refused('POST', '/uploads', { body: { ...request, size: 5001 }, headers });
  expect(other).toMatchObject({ code: 'conflict', details: { uploadId: uploads[0]?.id } });
  // Of another user it is another key.
  const stranger = api.as(await secondUser(serving, 'erika'));
  expect((await stranger.begin(request, headers)).id).not.toBe(uploads[0]?.id);
  // A cancelled one is over: the key begins anew.
  await api.ok('DELETE', `/uploads/${uploads[0]?.id}`);
  expect((await api.begin(request, headers)).id).not.toBe(uploads[0]?.id);
});

test('120 images come in pages, newest first, each once, also when some are made and removed between the pages', async () => {
  const made: string[] = [];
  for (let i = 0; i < 12; i++) {
    const ten = await Promise.all(Array.from({ length: 10 }, () => api.begin({ name: 'paged', size: 0 })));
    for (const { imageId } of ten) made.push(imageId);
  }
  const seen: string[] = [];
  let cursor = '';
  let pages = 0;
  do {
    const page: { items: { id: string; createdAt: string }[]; next: string | null } = await api.ok(
      'GET',
      `/images?name=paged&limit=25${cursor}`,
    );
    expect(page.items.length).toBeLessThanOrEqual(25);
    const times = page.items.map(({ createdAt }) => createdAt);
    expect(times).toEqual([...times].sort().reverse());
    seen.push(...page.items.map(({ id }) => id));
    if (pages++ === 1) {
      await api.begin({ name: 'paged', size: 0 });
      await api.ok('DELETE', `/images/${seen[0]}`);
    }
    cursor = page.next === null ? '' : `&cursor=${encodeURIComponent(page.next)}`;
  } while (cursor !== '');
  expect(pages).toBe(5);
  expect(new Set(seen).size).toBe(seen.length);
  expect([...seen].sort()).toEqual([...made].sort());
  expect((await api.refused('GET', '/images?cursor=nonsense')).code).toBe('bad-request');
  expect((await api.refused('GET', '/images?limit=501')).code).toBe('bad-request');
});

test('the history of a task tells each move with its time', async () => {
  const upload = await api.begin({ name: 'history', size: 2000 });
  await api.put(upload.id, 0, randomBytes(1000));
  await api.taskIs(upload.taskId, 'RUNNING');
  await api.ok('POST', `/tasks/${upload.taskId}/pause`);
  await api.ok('POST', `/tasks/${upload.taskId}/resume`);
  await api.put(upload.id, 1000, randomBytes(1000));
  await api.finish(upload.id);
  const { items } = await api.ok<{ items: { from: string | null; to: string }[] }>(
    'GET',
    `/tasks/${upload.taskId}/events`,
  );
  const moves = items.map(({ to }) => to);
  expect(moves[0]).toBe('INITIATED');
  expect(moves.at(-1)).toBe('SUCCESS');
  expect(moves).toContain('PAUSED');
  expect((await api.refused('POST', `/tasks/${upload.taskId}/pause`)).code).toBe('conflict');
});

test('a verify can be paused, gone on with and cancelled; the image stays ready', async () => {
  const image = await api.makeImage('looked at', randomBytes(32 * MiB));
  const task = await api.ok<TaskResource>('POST', `/images/${image.id}/verify`);
  const again = await api.ok<TaskResource>('POST', `/images/${image.id}/verify`);
  if (again.state !== 'SUCCESS' && task.state !== 'SUCCESS') expect(again.id === task.id || again.id !== '').toBe(true);
  const cancelled = await api.call('POST', `/tasks/${again.id}/cancel`);
  expect([200, 409]).toContain(cancelled.status);
  const ended = await api.taskIs(again.id, 'CANCELLED', 'SUCCESS');
  expect(cancelled.status === 200 ? ['CANCELLED', 'SUCCESS'] : ['SUCCESS']).toContain(ended.state);
  expect((await api.image(image.id)).state).toBe('ready');
});

async function listen(way: string, token: string): Promise<Listener> {
  const events: ApiEvent[] = [];
  const watchers = new Set<() => void>();
  const take = (text: string) => {
    events.push(JSON.parse(text));
    for (const watch of watchers) watch();
  };
  const close = way === 'WebSocket' ? await listenSocket(token, take) : await listenStream(token, take);
  const next = (wanted: (event: ApiEvent) => boolean) =>
    new Promise<ApiEvent>((resolve) => {
      const look = () => {
        const found = events.find(wanted);
        if (found === undefined) return;
        watchers.delete(look);
        resolve(found);
      };
      watchers.add(look);
      look();
    });
  await next(({ kind }) => kind === 'hello');
  return { events, next, [Symbol.asyncDispose]: close };
}

async function listenSocket(token: string, take: (text: string) => void): Promise<() => Promise<void>> {
  const socket = new WebSocket(`${serving.api.replace('http', 'ws')}/api/v1/events`, {
    headers: { authorization: `Bearer ${token}` },
  });
  socket.on('message', (data) => take(data.toString()));
  await new Promise<void>((resolve, reject) => socket.once('open', resolve).once('error', reject));
  return async () => socket.terminate();
}

async function listenStream(token: string, take: (text: string) => void): Promise<() => Promise<void>> {
  const stop = new AbortController();
  const response = await fetch(`${serving.api}/api/v1/events`, {
    headers: { authorization: `Bearer ${token}`, accept: 'text/event-stream' },
    signal: stop.signal,
  });
  expect(response.headers.get('content-type')).toContain('text/event-stream');
  const read = async () => {
    let rest = '';
    for await (const chunk of response.body ?? []) {
      const lines = `${rest}${Buffer.from(chunk).toString()}`.split('\n');
      rest = lines.pop() ?? '';
      for (const line of lines) if (line.startsWith('data:')) take(line.slice(5).trim());
    }
  };
  const reading = read().catch(() => {});
  return async () => {
    stop.abort();
    await reading;
  };
}
