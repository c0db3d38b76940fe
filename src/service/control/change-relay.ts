import { toHawserError } from '../../core/errors.ts';
import type { ChangeBus } from './host-ports.ts';
import type { Log } from './ports.ts';

/** Names are gathered for so long before they are told to the other controls. */
const GATHER_MS = 50;
/** PostgreSQL takes 8000 bytes in one notification. */
const MOST = 100;

/** Tells the other controls on the same database what changed, and hears what they did. */
export class ChangeRelay {
  readonly #bus: ChangeBus;
  readonly #from: string;
  readonly #log: Log;
  readonly #waiting = new Set<string>();
  #timer: NodeJS.Timeout | undefined;

  /** `from`: the id of this control, so that it does not hear itself. */
  constructor(bus: ChangeBus, from: string, log: Log) {
    this.#bus = bus;
    this.#from = from;
    this.#log = log;
  }

  /** `kind:id`, as short as that: everybody reads the thing by himself. */
  tell(name: string): void {
    this.#waiting.add(name);
    this.#timer ??= setTimeout(() => void this.#send(), GATHER_MS).unref();
  }

  listen(hear: (name: string) => void, missed: () => void): Promise<void> {
    return this.#bus.listen((text) => {
      const [from, ...names] = text.split(' ');
      if (from !== this.#from) for (const name of names) hear(name);
    }, missed);
  }

  async stop(): Promise<void> {
    clearTimeout(this.#timer);
    await this.#bus.stop();
  }

  async #send(): Promise<void> {
    this.#timer = undefined;
    const names = [...this.#waiting];
    this.#waiting.clear();
    try {
      for (let at = 0; at < names.length; at += MOST) {
        await this.#bus.publish([this.#from, ...names.slice(at, at + MOST)].join(' '));
      }
    } catch (error) {
      // Others read their lists again when their own connection to the database is back.
      this.#log.warn({ event: 'change.unsent', error: toHawserError(error).message });
    }
  }
}
