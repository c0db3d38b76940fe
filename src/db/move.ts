import { type Kysely, sql } from 'kysely';
import {
  copyStates,
  imageStates,
  isTerminal,
  type StateTable,
  statesBefore,
  taskStates,
  uploadStates,
} from '../core/states.ts';
import type { Move, MoveOptions, Stateful, States } from '../service/control/ports.ts';
import type { Tables } from './tables.ts';

const stateTables = {
  images: imageStates,
  copies: copyStates,
  uploads: uploadStates,
  tasks: taskStates,
} as const satisfies { readonly [T in Stateful]: StateTable<States[T]> };

/**
 * The one place that changes a state column. See ports.ts for what it promises. It locks no more than
 * an update would: a row that is changed twice in one transaction has its references checked, and a
 * plain `for update` of the row referred to would hold that check up, to the point of a deadlock.
 */
export function createMove(db: Kysely<Tables>): Move {
  return async (table, id, to, options = {}) => {
    const table_: StateTable<string> = stateTables[table];
    const before = statesBefore(table_, to).filter((state) => options.from?.some((wanted) => wanted === state) ?? true);
    if (before.length === 0) return false;
    const set = sql.join(assignments(table, to, options));
    const moved = sql<{ id: string; from_state: string }>`
      before as materialized (select id, state from ${sql.table(table)} where id = ${id} and state = any(${[...before]}) for no key update),
      moved as (update ${sql.table(table)} t set ${set} from before b where t.id = b.id
        returning t.id, b.state as from_state, ${table === 'tasks' ? sql`t.cause, t.status` : sql`null, null`})`;
    const query =
      table === 'tasks'
        ? sql`with ${moved} insert into task_events (task_id, from_state, to_state, cause, status)
            select id, from_state, ${to}, cause, status from moved returning id`
        : sql`with ${moved} select id from moved`;
    const result = await query.execute(db);
    return result.rows.length === 1;
  };
}

function assignments<T extends Stateful>(table: T, to: States[T], options: MoveOptions<T>) {
  const set = [sql`state = ${to}`];
  if (options.status !== undefined) set.push(sql`status = ${options.status}`);
  const ends = isTerminal<string>(stateTables[table], to);
  if (table === 'tasks') {
    set.push(sql`cause = ${options.cause ?? null}`);
    if (to === 'RUNNING') set.push(sql`started_at = coalesce(started_at, now())`);
    if (ends) set.push(sql`ended_at = now()`);
  }
  if (table === 'uploads' && ends) set.push(sql`ended_at = now(), reserved = 0`);
  if (table === 'copies') set.push(sql`state_at = now()`);
  if (table === 'images' && to === 'ready') set.push(sql`ready_at = now()`);
  return set;
}
