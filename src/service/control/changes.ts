import { toHawserError } from '../../core/errors.ts';
import type { Actor } from '../../core/nouns.ts';
import type { ChangeRelay } from './change-relay.ts';
import type { Log } from './ports.ts';
import type { Change, Changes } from './use-cases.ts';

export const changedKinds = ['image', 'upload', 'task', 'store', 'host'] as const;
export type ChangedKind = (typeof changedKinds)[number];

/** Reads a thing as it is now, with who may hear of it (undefined: everybody). */
export type LoadChange = (
  kind: ChangedKind,
  id: string,
) => Promise<{ readonly change: Change; readonly owner: string | undefined } | undefined>;

/** Four a second for one thing. */
const GAP = 250;

/**
 * Tells subscribers what changed. Users touch a thing's name; it is read when it is told, so many
 * touches within a quarter of a second are one event, and the last one is always told. What passed through
 * another control on the same database is heard through `relay`.
 */
export class ChangeHub implements Changes {
  readonly #load: LoadChange;
  readonly #log: Log;
  readonly #relay: ChangeRelay | undefined;
  readonly #watchers = new Set<(kind: ChangedKind, id: string) => void>();
  readonly #subscribers = new Set<{ readonly actor: Actor; readonly listener: (change: Change) => void }>();
  /** Things told within the last gap; true: touched again since. */
  readonly #recent = new Map<string, boolean>();
  #closed = false;

  constructor(load: LoadChange, log: Log, relay?: ChangeRelay) {
    this.#load = load;
    this.#log = log;
    this.#relay = relay;
  }

  /** Hears the name of everything that is touched, here or at another control, each time. */
  watch(watcher: (kind: ChangedKind, id: string) => void): void {
    this.#watchers.add(watcher);
  }

  /** Begins to hear the other controls. */
  async start(): Promise<void> {
    await this.#relay?.listen(
      (name) => {
        const [kind, id] = name.split(':');
        const known = changedKinds.find((one) => one === kind);
        if (known !== undefined && id !== undefined) this.#touched(known, id);
      },
      () => {
        for (const { listener } of this.#subscribers) listener({ kind: 'missed' });
      },
    );
  }

  subscribe(actor: Actor, listener: (change: Change) => void): () => void {
    const subscriber = { actor, listener };
    this.#subscribers.add(subscriber);
    return () => this.#subscribers.delete(subscriber);
  }

  touch(kind: ChangedKind, id: string): void {
    if (this.#closed) return;
    this.#relay?.tell(`${kind}:${id}`);
    this.#touched(kind, id);
  }

  #touched(kind: ChangedKind, id: string): void {
    for (const watcher of this.#watchers) watcher(kind, id);
    if (this.#closed || this.#subscribers.size === 0) return;
    const key = `${kind}:${id}`;
    if (this.#recent.has(key)) {
      this.#recent.set(key, true);
      return;
    }
    this.#recent.set(key, false);
    void this.#tell(kind, id).then(() => {
      setTimeout(() => {
        const again = this.#recent.get(key);
        this.#recent.delete(key);
        if (again === true) this.#touched(kind, id);
      }, GAP).unref();
    });
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#subscribers.clear();
    await this.#relay?.stop();
  }

  async #tell(kind: ChangedKind, id: string): Promise<void> {
    try {
      const found = await this.#load(kind, id);
      if (found === undefined) return;
      for (const { actor, listener } of this.#subscribers) {
        if (actor.role === 'admin' || found.owner === undefined || found.owner === actor.user) listener(found.change);
      }
    } catch (error) {
      // The stream promises no replay; the next change of the thing brings its whole state.
      this.#log.warn({ event: 'change.untold', kind, id, error: toHawserError(error).message });
    }
  }
}
