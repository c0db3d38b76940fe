/**
 * Which state may follow which. Core says what is legal, only `db/` (and the agent's journal for its
 * own records) performs a move, and only the caller whose compare-and-set won acts on it.
 */
type Moves<S extends string> = Readonly<Record<S, readonly S[]>>;

export interface StateTable<S extends string> {
  readonly noun: string;
  readonly initial: S;
  readonly moves: Moves<S>;
}

function stateTable<const M extends { readonly [K in keyof M]: readonly (keyof M & string)[] }>(
  noun: string,
  initial: keyof M & string,
  moves: M,
): StateTable<keyof M & string> {
  return { noun, initial, moves };
}

/** `pending`: nothing yet. `in-progress`: bytes arrive. `verifying`: all bytes are there, a digest is being computed. */
export const imageStates = stateTable('image', 'pending', {
  pending: ['in-progress', 'ready', 'failed', 'deleted'],
  'in-progress': ['verifying', 'ready', 'failed', 'deleted'],
  verifying: ['ready', 'failed', 'deleted'],
  ready: ['failed', 'deleted'],
  failed: ['in-progress', 'ready', 'deleted'],
  deleted: [],
});

/**
 * `unknown`: the bytes changed or the host is away; nothing may be concluded; a `failed` one whose file came back,
 * too. `removing`: marked, bytes not gone yet.
 */
export const copyStates = stateTable('copy', 'pending', {
  pending: ['in-progress', 'ready', 'failed', 'removing'],
  'in-progress': ['ready', 'failed', 'removing'],
  ready: ['unknown', 'failed', 'removing'],
  unknown: ['ready', 'failed', 'removing'],
  failed: ['in-progress', 'unknown', 'removing'],
  removing: ['removed'],
  removed: [],
});

/** `finishing`: a finish has begun and can be repeated; nothing is received any more. */
export const uploadStates = stateTable('upload', 'open', {
  open: ['paused', 'finishing', 'cancelled', 'expired', 'failed'],
  paused: ['open', 'cancelled', 'expired', 'failed'],
  finishing: ['open', 'sealed', 'failed', 'cancelled'],
  sealed: [],
  cancelled: [],
  expired: [],
  failed: [],
});

export const ticketStates = stateTable('ticket', 'active', {
  active: ['paused', 'expired', 'revoked'],
  paused: ['active', 'expired', 'revoked'],
  expired: ['active', 'revoked'],
  revoked: [],
});

/** HALTED: stopped by an operator or a policy, released by them or when the cause clears. */
export const taskStates = stateTable('task', 'INITIATED', {
  INITIATED: ['RUNNING', 'PAUSED', 'FAILURE', 'CANCELLED', 'HALTED'],
  RUNNING: ['PAUSED', 'SUCCESS', 'FAILURE', 'CANCELLED', 'HALTED'],
  PAUSED: ['RUNNING', 'SUCCESS', 'FAILURE', 'CANCELLED', 'HALTED'],
  HALTED: ['RUNNING', 'PAUSED', 'FAILURE', 'CANCELLED'],
  SUCCESS: [],
  FAILURE: [],
  CANCELLED: [],
});

type StateOf<T> = T extends StateTable<infer S> ? S : never;
export type ImageState = StateOf<typeof imageStates>;
export type CopyState = StateOf<typeof copyStates>;
export type UploadState = StateOf<typeof uploadStates>;
export type TicketState = StateOf<typeof ticketStates>;
export type TaskState = StateOf<typeof taskStates>;

export function canMove<S extends string>(table: StateTable<S>, from: S, to: S): boolean {
  return table.moves[from].includes(to);
}

export function isTerminal<S extends string>(table: StateTable<S>, state: S): boolean {
  return table.moves[state].length === 0;
}

/** The states from which `to` may be reached, for the `where` of a compare-and-set. */
export function statesBefore<S extends string>(table: StateTable<S>, to: S): readonly S[] {
  return statesOf(table).filter((from) => canMove(table, from, to));
}

export function statesOf<S extends string>(table: StateTable<S>): readonly S[] {
  return Object.keys(table.moves) as S[];
}
