import { type Range, RangeSet } from '../core/range.ts';

/**
 * What the server has acknowledged, as far as this client knows. After a broken connection the server
 * is asked, and its word replaces ours: it may have received more than it could say, and after a power
 * cut it may have less.
 */
export class Acknowledged {
  #set = new RangeSet();
  #sinceAsked: Range[] | undefined;
  #running: Promise<void> | undefined;
  #queued: Promise<void> | undefined;

  get bytes(): number {
    return this.#set.bytes;
  }

  add(range: Range): void {
    this.#set.add(range);
    this.#sinceAsked?.push(range);
  }

  contains(range: Range): boolean {
    return this.#set.contains(range);
  }

  missing(within: Range): Range[] {
    return [...this.#set.missing(within)];
  }

  inside(within: Range): Range[] {
    return [...this.#set.inside(within)];
  }

  /**
   * Takes over what `ask` says. The question is put after this call was made; calls that come while
   * one is waiting share its question. What is acknowledged while it is on its way is kept.
   */
  refresh(ask: () => Promise<readonly Range[]>): Promise<void> {
    if (this.#running === undefined) return this.#start(ask);
    this.#queued ??= this.#running
      .catch(() => undefined)
      .then(() => {
        this.#queued = undefined;
        return this.#start(ask);
      });
    return this.#queued;
  }

  #start(ask: () => Promise<readonly Range[]>): Promise<void> {
    const since: Range[] = [];
    this.#sinceAsked = since;
    this.#running = ask()
      .then((ranges) => {
        this.#set = RangeSet.of([...ranges, ...since]);
      })
      .finally(() => {
        this.#running = undefined;
        this.#sinceAsked = undefined;
      });
    return this.#running;
  }
}
