import { expect, test } from 'vitest';
import {
  canMove,
  copyStates,
  imageStates,
  isTerminal,
  type StateTable,
  statesBefore,
  statesOf,
  taskStates,
  ticketStates,
  uploadStates,
} from './states.ts';

const tables: readonly StateTable<string>[] = [imageStates, copyStates, uploadStates, ticketStates, taskStates];

test.each(tables)('every state of $noun can be reached, and every end from anywhere', (table) => {
  const states = statesOf(table);
  const reach = (from: string): Set<string> => {
    const seen = new Set([from]);
    for (const state of seen)
      for (const next of states.filter((to) => canMove<string>(table, state, to))) seen.add(next);
    return seen;
  };
  expect([...reach(table.initial)].sort()).toEqual([...states].sort());
  for (const state of states) {
    expect([...reach(state)].some((reached) => isTerminal<string>(table, reached))).toBe(true);
  }
});

test('a terminal state is final', () => {
  for (const end of ['SUCCESS', 'FAILURE', 'CANCELLED'] as const) {
    expect(isTerminal(taskStates, end)).toBe(true);
    for (const to of statesOf(taskStates)) expect(canMove(taskStates, end, to)).toBe(false);
  }
});

test('a Task succeeds only from RUNNING or PAUSED', () => {
  expect(statesBefore(taskStates, 'SUCCESS')).toEqual(['RUNNING', 'PAUSED']);
});
