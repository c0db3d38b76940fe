import { randomUUID } from 'node:crypto';
import fc from 'fast-check';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type TestPostgres, testPostgres } from '../../test/postgres.ts';
import { canMove, statesOf, taskStates } from '../core/states.ts';
import type { OpenDatabase } from './open.ts';

let postgres: TestPostgres;
let open: OpenDatabase & { readonly name: string };
beforeAll(async () => {
  postgres = await testPostgres();
  open = await postgres.open();
});
afterAll(async () => {
  await open[Symbol.asyncDispose]();
  await postgres[Symbol.asyncDispose]();
});

async function newTask(): Promise<string> {
  const id = randomUUID();
  const imageId = randomUUID();
  const rest = {
    name: 'i',
    ...fetched,
    format: 'auto',
    declaredSize: null,
    expectedDigest: null,
    owner: 'a',
    uploadId: id,
  } as const;
  await open.db.images.insert({ id: imageId, ...rest, taskId: id });
  await open.db.tasks.insert({
    id,
    kind: 'upload',
    status: '',
    imageId,
    uploadId: null,
    totalBytes: null,
    work: null,
    owner: 'a',
  });
  return id;
}

test('whatever many movers want at once, only legal moves happen, one winner each, and history tells them all', async () => {
  const wish = fc.constantFrom(...statesOf(taskStates));
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.array(wish, { minLength: 1, maxLength: 6 }), { minLength: 2, maxLength: 6 }),
      async (movers) => {
        const id = await newTask();
        const won = await Promise.all(
          movers.map(async (wishes) => {
            let wins = 0;
            for (const to of wishes) if (await open.db.move('tasks', id, to, { cause: 'user' })) wins++;
            return wins;
          }),
        );
        const events = await open.db.tasks.events(id);
        expect(events).toHaveLength(1 + won.reduce((sum, wins) => sum + wins, 0));
        let state = events[0]?.to;
        for (const event of events.slice(1)) {
          expect(event.from).toBe(state);
          expect(state !== undefined && canMove(taskStates, state, event.to)).toBe(true);
          state = event.to;
        }
        expect((await open.db.tasks.find(id))?.state).toBe(state);
      },
    ),
    { numRuns: 40 },
  );
});

test('a move inside a transaction that fails did not happen, nor did its event', async () => {
  const id = await newTask();
  await expect(
    open.db.transaction(async (trx) => {
      expect(await trx.move('tasks', id, 'RUNNING')).toBe(true);
      throw new Error('no');
    }),
  ).rejects.toThrow('no');
  expect((await open.db.tasks.find(id))?.state).toBe('INITIATED');
  expect(await open.db.tasks.events(id)).toHaveLength(1);
});

test('`from` narrows what is legal, and an unknown thing does not move', async () => {
  const id = await newTask();
  expect(await open.db.move('tasks', id, 'PAUSED', { from: ['RUNNING'] })).toBe(false);
  expect(await open.db.move('tasks', id, 'SUCCESS', { from: ['INITIATED'] })).toBe(false);
  expect(await open.db.move('tasks', randomUUID(), 'RUNNING')).toBe(false);
  expect(await open.db.move('tasks', id, 'RUNNING')).toBe(true);
});

test('history is append only', async () => {
  const id = await newTask();
  await expect(postgres.query(open.name, `delete from task_events where task_id = '${id}'`)).rejects.toThrow(
    'append only',
  );
  await open.db.audit.append({ actor: 'a', action: 'x', subject: 's' });
  await expect(postgres.query(open.name, `update audit_log set actor = 'b'`)).rejects.toThrow('append only');
});

test('pages go through everything once, newest first, and a foreign cursor is refused', async () => {
  const owner = randomUUID();
  const ids: string[] = [];
  for (let i = 0; i < 7; i++) {
    const id = randomUUID();
    const rest = {
      ...fetched,
      format: 'raw',
      declaredSize: 1,
      expectedDigest: null,
      uploadId: id,
      taskId: id,
    } as const;
    await open.db.images.insert({ id, name: `100%_${i}`, owner, ...rest });
    ids.push(id);
  }
  const seen: string[] = [];
  let cursor: string | undefined;
  do {
    const page = await open.db.images.list({ limit: 3, cursor }, owner);
    seen.push(...page.items.map((image) => image.id));
    cursor = page.next ?? undefined;
  } while (cursor !== undefined);
  expect(seen).toHaveLength(7);
  expect(new Set(seen)).toEqual(new Set(ids));
  expect((await open.db.images.list({ limit: 10, search: '%_3' }, owner)).items).toHaveLength(1);
  await expect(open.db.images.list({ limit: 3, cursor: 'abc' }, owner)).rejects.toMatchObject({ code: 'bad-request' });
});

test('ending an Upload does not wait for, nor deadlock with, a transaction that moves its Copy and its Image', async () => {
  const [hostId, storeId, imageId, copyId, uploadId] = Array.from({ length: 5 }, () => randomUUID()) as Five;
  const taskId = await newTask();
  await open.db.stores.saveHost({
    hostId,
    name: 'h',
    bootId: 'b',
    version: '1',
    dataUrls: [],
    dataCa: null,
    agentUrl: null,
    linkVersion: 1,
    tags: [],
  });
  const store = { storeId, hostId, name: 's', driver: 'file', capacity: 1, free: 1, problem: null, tags: [] };
  await open.db.stores.saveStores([store]);
  const said = { format: 'auto', declaredSize: null, expectedDigest: null, owner: 'a', taskId } as const;
  await open.db.images.insert({ id: imageId, name: 'i', uploadId, ...fetched, ...said });
  await open.db.images.insertCopy({ id: copyId, imageId, storeId, key: copyId });
  const rest = { generation: 1, reserved: 0, fingerprint: null, storeId, key: copyId, expireAfterSeconds: 60 };
  const { source } = fetched;
  await open.db.uploads.insert({ id: uploadId, imageId, copyId, purpose: 'fill', source, ...said, ...rest });

  await open.db.transaction(async (running) => {
    expect(await running.move('copies', copyId, 'in-progress')).toBe(true);
    expect(await running.move('images', imageId, 'in-progress')).toBe(true);
    await open.db.transaction(async (ending) => {
      expect(await ending.move('uploads', uploadId, 'cancelled')).toBe(true);
      // The second change of one row in one transaction: PostgreSQL looks whether what it refers to is still there.
      await ending.uploads.setDuty(uploadId, 'discard');
    });
  });
  expect(await open.db.uploads.find(uploadId)).toMatchObject({ state: 'cancelled', duty: 'discard' });
});

const fetched = {
  origin: 'upload',
  source: { kind: 'client' },
  placement: { minCopies: 1, storeTags: [], hostTags: [] },
} as const;

type Five = [string, string, string, string, string];
