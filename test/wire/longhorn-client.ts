import { createHash } from 'node:crypto';

/** One chunk as a client cuts it. */
export interface Cut {
  readonly index: number;
  readonly offset: number;
  readonly length: number;
}

export interface LonghornAnswer {
  readonly status: number;
  readonly type: string;
  readonly text: string;
  readonly json: unknown;
}

export interface BackingImage {
  readonly id: string;
  readonly uuid: string;
  readonly name: string;
  readonly uploadAddress: string;
  readonly actions: Readonly<Record<string, string>>;
  readonly diskFileStatusMap: Readonly<
    Record<string, { readonly state: string; readonly progress: number; readonly lastStateTransitionTime: string }>
  >;
  readonly diskFileStateMap: Readonly<Record<string, string>>;
  readonly diskFileHandlingProgressMap: Readonly<Record<string, number>>;
  readonly currentChecksum: string;
  readonly status: { readonly uploadAddress: string };
  readonly [name: string]: unknown;
}

export function checksumOf(bytes: Uint8Array): string {
  return createHash('sha512').update(bytes).digest('hex').slice(0, 64);
}

/** Cuts of one length, the last one shorter. */
export function evenCuts(size: number, length: number): readonly Cut[] {
  const count = Math.ceil(size / length);
  return Array.from({ length: count }, (_, index) => ({
    index,
    offset: index * length,
    length: Math.min(length, size - index * length),
  }));
}

/** Cuts of random lengths between `least` and `most`; `chance` gives numbers from 0 to 1. */
export function unevenCuts(size: number, [least, most]: readonly [number, number], chance: () => number): Cut[] {
  const cuts: Cut[] = [];
  for (let offset = 0; offset < size; ) {
    const length = Math.min(size - offset, least + Math.floor(chance() * (most - least)));
    cuts.push({ index: cuts.length, offset, length });
    offset += length;
  }
  return cuts;
}

export function shuffled<T>(items: readonly T[], chance: () => number): T[] {
  const mixed = [...items];
  for (let last = mixed.length - 1; last > 0; last--) {
    const other = Math.floor(chance() * (last + 1));
    const [a, b] = [mixed[last], mixed[other]];
    if (a === undefined || b === undefined) continue;
    mixed[last] = b;
    mixed[other] = a;
  }
  return mixed;
}

/** The page of the original: what it sends to the manager, and in which order. */
export class LonghornClient {
  readonly base: string;
  readonly #token: string | undefined;

  constructor(base: string, token: string | undefined) {
    this.base = base;
    this.#token = token;
  }

  async call(
    method: string,
    path: string,
    { json, form }: { readonly json?: unknown; readonly form?: FormData } = {},
  ): Promise<LonghornAnswer> {
    const response = await fetch(path.includes('://') ? path : `${this.base}/v1${path}`, {
      method,
      headers: {
        ...(this.#token === undefined ? {} : { authorization: `Bearer ${this.#token}` }),
        ...(json === undefined ? {} : { 'content-type': 'application/json' }),
      },
      ...(json === undefined ? {} : { body: JSON.stringify(json) }),
      ...(form === undefined ? {} : { body: form }),
    });
    const text = await response.text();
    const type = response.headers.get('content-type') ?? '';
    return {
      status: response.status,
      type,
      text,
      json: type.includes('json') && text !== '' ? JSON.parse(text) : undefined,
    };
  }

  /** The answer, which must be a success. */
  async ok(...args: Parameters<LonghornClient['call']>): Promise<LonghornAnswer> {
    const answer = await this.call(...args);
    if (answer.status !== 200) throw new Error(`${args[0]} ${args[1]}: ${answer.status} ${answer.text}`);
    return answer;
  }

  async create(name: string, more: Readonly<Record<string, unknown>> = {}): Promise<BackingImage> {
    const json = { name, sourceType: 'upload', parameters: {}, ...more };
    return (await this.ok('POST', '/backingimages', { json })).json as BackingImage;
  }

  async show(name: string): Promise<BackingImage> {
    return (await this.ok('GET', `/backingimages/${encodeURIComponent(name)}`)).json as BackingImage;
  }

  action(name: string, action: string, query: Readonly<Record<string, string | number>> = {}, form?: FormData) {
    const search = new URLSearchParams({ action, ...mapped(query) });
    const path = `/backingimages/${encodeURIComponent(name)}?${search}`;
    return this.call('POST', path, form === undefined ? {} : { form });
  }

  /** Prepares a chunk, and sends it unless it is there. Answers whether it was. */
  async send(name: string, cut: Cut, bytes: Uint8Array): Promise<boolean> {
    const checksum = checksumOf(bytes);
    const prepared = await this.action(name, 'chunkPrepare', { index: cut.index, size: cut.length, checksum });
    if (prepared.status !== 200) throw new Error(`chunkPrepare ${cut.index}: ${prepared.status} ${prepared.text}`);
    if ((prepared.json as { exists: boolean }).exists) return true;
    const sent = await this.upload(name, cut.index, checksum, bytes);
    if (sent.status !== 200) throw new Error(`chunkUpload ${cut.index}: ${sent.status} ${sent.text}`);
    return false;
  }

  upload(name: string, index: number, checksum: string, bytes: Uint8Array): Promise<LonghornAnswer> {
    const form = new FormData();
    form.append('index', String(index));
    form.append('checksum', checksum);
    form.append('chunk', new Blob([Buffer.from(bytes)], { type: 'application/octet-stream' }), 'blob');
    return this.action(name, 'chunkUpload', {}, form);
  }

  /** All of it as the original does: start, each chunk, coalesce, close; `lanes` chunks at once. */
  async uploadAll(
    name: string,
    bytes: Uint8Array,
    cuts: readonly Cut[],
    lanes = 3,
  ): Promise<{ readonly skipped: number }> {
    await this.must(this.action(name, 'uploadServerStart', { size: bytes.length }));
    const waiting = [...cuts];
    let skipped = 0;
    const lane = async () => {
      for (let cut = waiting.shift(); cut !== undefined; cut = waiting.shift()) {
        const there = await this.send(name, cut, bytes.subarray(cut.offset, cut.offset + cut.length));
        if (there) skipped++;
      }
    };
    await Promise.all(Array.from({ length: lanes }, lane));
    await this.must(this.action(name, 'chunkCoalesce', { size: bytes.length, count: cuts.length }));
    await this.must(this.action(name, 'uploadServerClose'));
    return { skipped };
  }

  async must(answer: Promise<LonghornAnswer>): Promise<LonghornAnswer> {
    const got = await answer;
    if (got.status !== 200) throw new Error(`${got.status} ${got.text}`);
    return got;
  }
}

function mapped(query: Readonly<Record<string, string | number>>): Record<string, string> {
  return Object.fromEntries(Object.entries(query).map(([name, value]) => [name, String(value)]));
}
