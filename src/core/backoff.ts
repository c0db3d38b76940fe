export interface BackoffLimits {
  readonly firstMs: number;
  readonly mostMs: number;
}

/** 0.5 s, doubled each time, never above 30 s. */
export const defaultBackoff: BackoffLimits = { firstMs: 500, mostMs: 30_000 };

/**
 * How long to wait before try `attempt` (1 is the first repetition): doubled each time up to the cap,
 * then somewhere between half of it and all of it, so that many clients do not come back together.
 */
export function backoffMs(attempt: number, random: () => number, limits: BackoffLimits = defaultBackoff): number {
  const full = Math.min(limits.mostMs, limits.firstMs * 2 ** Math.min(30, Math.max(0, attempt - 1)));
  return Math.round(full / 2 + (full / 2) * random());
}
