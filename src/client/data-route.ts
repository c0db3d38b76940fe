import type { DataAccess } from '../contract/api/upload.ts';
import type { HostIdentity } from '../core/nouns.ts';

export interface DataTarget {
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
  /** PEM that the certificate there is verified with; null: as any other. */
  readonly ca: string | null;
  /** The host whose certificate must be shown there; null: it says nothing of hosts. */
  readonly host: HostIdentity | null;
  readonly direct: boolean;
}

export interface DataRouteOptions {
  /** The data route of the API itself, which passes bytes on: always there, one hop more. */
  readonly relay: Omit<DataTarget, 'direct' | 'ca' | 'host'>;
  /** Asks for a ticket for the data listener; without it everything goes through the API. */
  readonly access?: () => Promise<DataAccess>;
  /** Milliseconds since 1970, to compare with `expiresAt`. */
  readonly wallClock: () => number;
}

/** Renewed this long before it expires. */
const MARGIN_MS = 30_000;
/** After so many failures without one success the data listener counts as not reachable from here. */
const PATIENCE = 3;

/** Where bytes go now: straight to the data listener with a ticket, else through the API. */
export class DataRoute {
  readonly #options: DataRouteOptions;
  #access: Promise<DataAccess> | undefined;
  #failures = 0;
  #worked = false;
  #refusals = 0;

  constructor(options: DataRouteOptions) {
    this.#options = options;
  }

  async target(): Promise<DataTarget> {
    const { access: ask, relay, wallClock } = this.#options;
    if (ask === undefined || this.#failures >= PATIENCE) return { ...relay, ca: null, host: null, direct: false };
    this.#access ??= ask();
    try {
      const access = await this.#access;
      if (Date.parse(access.expiresAt) - wallClock() > MARGIN_MS || this.#refusals > 0) return direct(access);
      this.#access = ask();
      return direct(await this.#access);
    } catch (error) {
      this.#access = undefined;
      throw error;
    }
  }

  succeeded(): void {
    this.#worked = true;
    this.#refusals = 0;
  }

  /** The connection failed. */
  broke(target: DataTarget): void {
    if (target.direct && !this.#worked) this.#failures++;
  }

  /** The ticket was refused. Says whether a new one is worth a try. */
  refused(target: DataTarget): boolean {
    if (!target.direct) return false;
    this.#access = undefined;
    this.#refusals++;
    return this.#refusals <= PATIENCE * 4;
  }
}

function direct(access: DataAccess): DataTarget {
  return {
    url: `${access.url.replace(/\/+$/, '')}/data`,
    headers: { authorization: `Bearer ${access.token}` },
    ca: access.ca,
    host: access.host,
    direct: true,
  };
}
