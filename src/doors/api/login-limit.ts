import { HawserError } from '../../core/errors.ts';

export interface LoginLimitSettings {
  readonly failures: number;
  readonly windowSeconds: number;
  /** Milliseconds. */
  readonly now: () => number;
}

/**
 * How many passwords and tokens an address may get wrong. Each one counts when it begins, so that many at once do
 * not slip through, and is given back when it succeeds. Memory is bounded: when full, the addresses
 * that wait the shortest are forgotten.
 */
export class LoginLimit {
  readonly #settings: LoginLimitSettings;
  readonly #counts = new Map<string, { failures: number; readonly until: number }>();

  constructor(settings: LoginLimitSettings) {
    this.#settings = settings;
  }

  /** Throws `too-many`. */
  begin(from: string): void {
    const address = placeOf(from);
    const now = this.#settings.now();
    const entry = this.#counts.get(address);
    if (entry !== undefined && entry.until > now) {
      if (entry.failures >= this.#settings.failures) {
        const retryAfterSeconds = Math.ceil((entry.until - now) / 1000);
        throw new HawserError(
          'too-many',
          `${entry.failures} passwords or tokens from this address were wrong. Wait ${retryAfterSeconds} s, then try again.`,
          { details: { retryAfterSeconds } },
        );
      }
      entry.failures++;
      return;
    }
    this.#forget(now);
    this.#counts.delete(address);
    this.#counts.set(address, { failures: 1, until: now + this.#settings.windowSeconds * 1000 });
  }

  succeeded(from: string): void {
    const entry = this.#counts.get(placeOf(from));
    if (entry !== undefined && entry.failures > 0) entry.failures--;
  }

  /** Entries lie in the order in which they end. */
  #forget(now: number): void {
    for (const [address, { until }] of this.#counts) {
      if (until > now && this.#counts.size < 10_000) return;
      this.#counts.delete(address);
    }
  }
}

/** An IPv6 host has a /64 to choose addresses from, so that is what counts; IPv4 also when it is written as IPv6. */
function placeOf(address: string): string {
  const four = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(address)?.[1];
  if (four !== undefined || !address.includes(':')) return four ?? address;
  const [head = '', tail] = address.split('::');
  const front = head === '' ? [] : head.split(':');
  const back = tail === undefined || tail === '' ? [] : tail.split(':');
  const gap = tail === undefined ? 0 : Math.max(0, 8 - front.length - back.length);
  const groups = [...front, ...Array.from({ length: gap }, () => '0'), ...back];
  return `${groups.slice(0, 4).join(':')}::/64`;
}
