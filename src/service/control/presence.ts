import type { Context } from './context.ts';

const GAP_MS = 10_000;

/** Tells agents, through the database, that this control is there and where. */
export class Presence {
  readonly #context: Context;
  readonly #id: string;
  readonly #urls: () => readonly string[];
  #told = Number.NEGATIVE_INFINITY;

  constructor(context: Context, id: string, urls: () => readonly string[]) {
    this.#context = context;
    this.#id = id;
    this.#urls = urls;
  }

  async tick(): Promise<void> {
    const now = this.#context.now().getTime();
    const urls = this.#urls();
    if (urls.length === 0 || Math.abs(now - this.#told) < GAP_MS) return;
    this.#told = now;
    await this.#context.db.hosts.saveControl(this.#id, urls);
  }

  async leave(): Promise<void> {
    if (this.#urls().length > 0) await this.#context.db.hosts.removeControl(this.#id);
  }
}
