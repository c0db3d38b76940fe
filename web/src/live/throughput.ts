import type { TaskResource } from '../../../src/contract/api/task.ts';

export interface RatePoint {
  /** Milliseconds since 1970. */
  readonly at: number;
  readonly rate: number;
}

const KEPT = 600;
const history = new Map<string, RatePoint[]>();

/** Remembers how fast a Task moved, for its plot; nothing is kept of ended ones beyond the page's life. */
export function recordRate(task: TaskResource, at: number = Date.now()): void {
  const points = history.get(task.id) ?? [];
  history.set(task.id, points);
  points.push({ at, rate: task.rate ?? 0 });
  if (points.length > KEPT) points.shift();
}

export function ratesOf(taskId: string): readonly RatePoint[] {
  return history.get(taskId) ?? [];
}
