import type { HawserError } from '../core/errors.ts';
import type { ImageioStatus } from './imageio-progress.ts';
import { Patience } from './patience.ts';
import type { Clock } from './ports.ts';

/** A server that is restarted is back by then, and a ticket that nobody renews has ended. */
const GIVE_UP_MS = 10 * 60_000;
/** A server that answers with a fault is asked so often; unlike one that is away it has been asked. */
const FAULTS = 5;

export function transferPatience(clock: Clock, signal: AbortSignal, status: ImageioStatus): Patience {
  return new Patience({ clock, signal, giveUpMs: GIVE_UP_MS, onWaiting: (waiting) => status.change({ waiting }) });
}

/** One request, as often as it takes. */
export async function patiently<T>(patience: Patience, request: () => Promise<T>): Promise<T> {
  const result = await patience.persist(request, mayPass());
  patience.succeeded();
  return result;
}

/** For one request: a few faults that the server answers with, any number of connections that break. */
export function mayPass(): (error: HawserError) => boolean {
  let faults = 0;
  return (error) => error.code === 'unavailable' || error.details.status === undefined || ++faults < FAULTS;
}
