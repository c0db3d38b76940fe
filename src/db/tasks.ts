import { type Expression, type Kysely, type SqlBool, sql } from 'kysely';
import type { TaskEvent } from '../core/nouns.ts';
import { isTerminal, statesOf, type TaskState, taskStates } from '../core/states.ts';
import type { TaskRecords } from '../service/control/ports.ts';
import { containing, pageOf, placeOf } from './page.ts';
import { taskOf } from './rows.ts';
import type { Tables } from './tables.ts';

export function createTaskRecords(db: Kysely<Tables>): TaskRecords {
  return { ...reads(db), ...writes(db) };
}

const ended = statesOf(taskStates).filter((state) => isTerminal(taskStates, state));

function named(db: Kysely<Tables>) {
  return db
    .selectFrom('tasks as t')
    .leftJoin('images as i', 'i.id', 't.image_id')
    .leftJoin('uploads as u', 'u.id', 't.upload_id')
    .selectAll('t')
    .select(['i.name as image_name', 'u.received_bytes']);
}

function reads(db: Kysely<Tables>): Pick<TaskRecords, 'find' | 'list' | 'events' | 'liveOf' | 'withWorkOn'> {
  return {
    find: async (id) => {
      const row = await named(db).where('t.id', '=', id).executeTakeFirst();
      return row && taskOf(row);
    },
    list: async (query, owner) => {
      const place = placeOf(query);
      const rows = await named(db)
        .where((of) => {
          const all: Expression<SqlBool>[] = [];
          if (owner !== undefined) all.push(of('t.owner', '=', owner));
          if (query.states !== undefined && query.states.length > 0) all.push(of('t.state', 'in', [...query.states]));
          if (query.kind !== undefined) all.push(of('t.kind', '=', query.kind));
          if (query.imageId !== undefined) all.push(of('t.image_id', '=', query.imageId));
          if (query.search !== undefined) all.push(of('i.name', 'ilike', containing(query.search)));
          if (place !== undefined) all.push(sql<SqlBool>`(t.created_at, t.id) < (${place.at}, ${place.id}::uuid)`);
          return of.and(all);
        })
        .orderBy('t.created_at', 'desc')
        .orderBy('t.id', 'desc')
        .limit(query.limit + 1)
        .execute();
      return pageOf(rows, query.limit, taskOf);
    },
    events: async (id) => {
      const rows = await db.selectFrom('task_events').selectAll().where('task_id', '=', id).orderBy('id').execute();
      return rows.map(
        (row): TaskEvent => ({
          at: row.at,
          from: row.from_state as TaskState | null,
          to: row.to_state as TaskState,
          cause: row.cause,
          status: row.status,
        }),
      );
    },
    liveOf: async (imageId) => {
      const rows = await named(db).where('t.image_id', '=', imageId).where('t.state', 'not in', ended).execute();
      return rows.map(taskOf);
    },
    withWorkOn: async (hostId) => {
      const rows = await named(db)
        .where('t.host_id', '=', hostId)
        .where('t.work', 'is not', null)
        .where((of) => of.or([of('t.ended_at', 'is', null), of('t.forget', '=', true)]))
        .execute();
      return rows.map(taskOf);
    },
  };
}

type Writes = 'insert' | 'setWork' | 'setForget' | 'setProgress' | 'setStatus' | 'setResult';

function writes(db: Kysely<Tables>): Pick<TaskRecords, Writes> {
  const change = (id: string) => db.updateTable('tasks').where('id', '=', id);
  return {
    insert: async (task) => {
      await db
        .insertInto('tasks')
        .values({
          id: task.id,
          kind: task.kind,
          state: taskStates.initial,
          status: task.status,
          image_id: task.imageId,
          upload_id: task.uploadId,
          host_id: task.work?.hostId ?? null,
          work: task.work === null ? null : JSON.stringify(task.work),
          done_bytes: 0,
          total_bytes: task.totalBytes,
          owner: task.owner,
        })
        .execute();
      await db
        .insertInto('task_events')
        .values({ task_id: task.id, from_state: null, to_state: taskStates.initial, cause: null, status: task.status })
        .execute();
    },
    setWork: async (id, work, totalBytes) => {
      await change(id)
        .set({ work: JSON.stringify(work), host_id: work.hostId, done_bytes: 0, total_bytes: totalBytes })
        .execute();
    },
    setForget: async (id, forget) => {
      await change(id).set({ forget }).execute();
    },
    setProgress: async (id, doneBytes, totalBytes) => {
      await change(id).set({ done_bytes: doneBytes, total_bytes: totalBytes }).execute();
    },
    setStatus: async (id, status, cause) => {
      await change(id).set({ status, cause }).execute();
    },
    setResult: async (id, result) => {
      await change(id)
        .set({ result: sql`coalesce(result, '{}'::jsonb) || ${JSON.stringify(result)}::jsonb` })
        .execute();
    },
  };
}
