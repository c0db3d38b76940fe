import { createHash } from 'node:crypto';
import { type FileHandle, open } from 'node:fs/promises';
import { setTimeout as wait } from 'node:timers/promises';
import type { ClientEnd, ClientJob, CrashClient } from './harness.ts';
import { seeded } from './plan.ts';

const MiB = 1024 * 1024;
const LANES = 3;

interface Cut {
  readonly index: number;
  readonly offset: number;
  readonly length: number;
}

/**
 * The original's client: prepare, send unless it is there, coalesce, close. It keeps nothing: a new one
 * begins from the first chunk and relies on `exists`. `even`: chunks of 4 MiB in order; `uneven`: of 2 to
 * 4 MiB in random order, whose places the server cannot know at first.
 */
export function longhornClient(how: 'even' | 'uneven'): CrashClient {
  return {
    ranges: how === 'even' ? 'told' : 'later',
    start: async (job) => {
      const stop = new AbortController();
      const ended = run(job, how, stop.signal).then(
        (): ClientEnd => ({ kind: 'done' }),
        (error: unknown): ClientEnd =>
          stop.signal.aborted ? { kind: 'killed' } : { kind: 'failed', said: String(error) },
      );
      return {
        ended,
        kill: () => stop.abort(),
        close: async () => {
          stop.abort();
          await ended;
        },
      };
    },
  };
}

async function run(job: ClientJob, how: 'even' | 'uneven', signal: AbortSignal): Promise<void> {
  await using source = await open(job.file);
  const { size } = await source.stat();
  const wire = new Wire(job, signal);
  await wire.ensure();
  const image = await wire.image();
  if (image.size === size && Object.values(image.diskFileStateMap).includes('ready')) return;
  await wire.action('uploadServerStart', { size });
  const cuts = cutsOf(size, how, seeded(Number(job.name.replace(/\D/g, ''))));
  const waiting = how === 'even' ? [...cuts] : mixed(cuts, seeded(7));
  const lane = async () => {
    for (let cut = waiting.shift(); cut !== undefined; cut = waiting.shift())
      await wire.send(cut, await read(source, cut));
  };
  await Promise.all(Array.from({ length: LANES }, lane));
  await wire.action('chunkCoalesce', { size, count: cuts.length });
  await wire.action('uploadServerClose', {});
}

function cutsOf(size: number, how: 'even' | 'uneven', random: () => number): Cut[] {
  const cuts: Cut[] = [];
  for (let offset = 0; offset < size; ) {
    const wanted = how === 'even' ? 4 * MiB : 2 * MiB + Math.floor(random() * 2 * MiB);
    const length = Math.min(wanted, size - offset);
    cuts.push({ index: cuts.length, offset, length });
    offset += length;
  }
  return cuts;
}

function mixed<T>(items: readonly T[], random: () => number): T[] {
  return items
    .map((item) => ({ item, at: random() }))
    .sort((a, b) => a.at - b.at)
    .map(({ item }) => item);
}

async function read(source: FileHandle, { offset, length }: Cut): Promise<Buffer> {
  const bytes = Buffer.alloc(length);
  await source.read(bytes, 0, length, offset);
  return bytes;
}

interface Shown {
  readonly size: number;
  readonly diskFileStateMap: Readonly<Record<string, string>>;
}

/** Calls that outlast a server that is away; a refusal ends them. */
class Wire {
  readonly #job: ClientJob;
  readonly #signal: AbortSignal;

  constructor(job: ClientJob, signal: AbortSignal) {
    this.#job = job;
    this.#signal = signal;
  }

  async ensure(): Promise<void> {
    const json = JSON.stringify({ name: this.#job.name, sourceType: 'upload', parameters: {} });
    const headers = { 'content-type': 'application/json' };
    const answer = await this.#call('POST', '/v1/backingimages', { body: json, headers }, [200, 409]);
    await answer.text();
  }

  async image(): Promise<Shown> {
    return (await this.#call('GET', this.#path(), {}, [200])).json() as Promise<Shown>;
  }

  action(name: string, query: Readonly<Record<string, number | string>>): Promise<string> {
    return this.#call('POST', this.#path(name, query), {}, [200]).then((answer) => answer.text());
  }

  async send({ index, offset, length }: Cut, bytes: Buffer): Promise<void> {
    const checksum = createHash('sha512').update(bytes).digest('hex').slice(0, 64);
    for (;;) {
      const { exists } = JSON.parse(await this.action('chunkPrepare', { index, size: length, checksum }));
      if (exists === true) return;
      const form = new FormData();
      form.append('index', String(index));
      form.append('checksum', checksum);
      form.append('chunk', new Blob([Buffer.from(bytes)]), 'blob');
      // Tells the suite's proxy which bytes these are; the server is never told.
      const headers = { 'content-range': `bytes ${offset}-${offset + length - 1}/*` };
      if (await this.#try('POST', this.#path('chunkUpload'), { body: form, headers }, [200])) return;
      await wait(50, undefined, { signal: this.#signal });
    }
  }

  #path(action?: string, query: Readonly<Record<string, number | string>> = {}): string {
    const path = `/v1/backingimages/${encodeURIComponent(this.#job.name)}`;
    if (action === undefined) return path;
    const search = new URLSearchParams({ action });
    for (const [name, value] of Object.entries(query)) search.set(name, String(value));
    return `${path}?${search}`;
  }

  async #call(method: string, path: string, init: RequestInit, good: readonly number[]): Promise<Response> {
    for (;;) {
      const answer = await this.#try(method, path, init, good);
      if (answer !== undefined) return answer;
      await wait(50, undefined, { signal: this.#signal });
    }
  }

  /** Undefined: nobody answered, or not now. */
  async #try(method: string, path: string, init: RequestInit, good: readonly number[]): Promise<Response | undefined> {
    const { url, token } = this.#job;
    const headers = { ...Object(init.headers), authorization: `Bearer ${token}` };
    let answer: Response;
    try {
      answer = await fetch(`${url}${path}`, { ...init, method, headers, signal: this.#signal });
    } catch (error) {
      this.#signal.throwIfAborted();
      if (error instanceof TypeError) return undefined;
      throw error;
    }
    if (good.includes(answer.status)) return answer;
    const text = await answer.text();
    if (answer.status >= 500) return undefined;
    throw new Error(`${method} ${path}: ${answer.status} ${text}`);
  }
}
