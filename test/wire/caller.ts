import { createHash, randomBytes } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import { expect } from 'vitest';
import type { Problem } from '../../src/contract/api/common.ts';
import type { ImageResource } from '../../src/contract/api/image.ts';
import type { TaskResource } from '../../src/contract/api/task.ts';
import type { FinishAnswer, Receipt, ReceivedRanges, UploadResource } from '../../src/contract/api/upload.ts';

export const MiB = 1024 * 1024;

export interface Answer {
  readonly status: number;
  readonly headers: Headers;
  readonly bytes: Buffer;
  /** The JSON of the body; undefined when it is none. */
  readonly json: unknown;
}

export interface CallOptions {
  readonly body?: unknown;
  readonly bytes?: Uint8Array;
  readonly headers?: Readonly<Record<string, string>>;
  /** null: none is sent. */
  readonly token?: string | null;
}

/** A client of the native API that does exactly what it is told, and nothing for its own protection. */
export class Caller {
  readonly #base: string;
  readonly #token: string;

  constructor(base: string, token: string) {
    this.#base = base;
    this.#token = token;
  }

  as(token: string): Caller {
    return new Caller(this.#base, token);
  }

  async call(method: string, path: string, options: CallOptions = {}): Promise<Answer> {
    const token = options.token === undefined ? this.#token : options.token;
    const response = await fetch(path.includes('://') ? path : `${this.#base}/api/v1${path}`, {
      method,
      headers: {
        ...(token === null ? {} : { authorization: `Bearer ${token}` }),
        ...(options.body === undefined ? {} : { 'content-type': 'application/json' }),
        ...(options.bytes === undefined ? {} : { 'content-type': 'application/octet-stream' }),
        ...options.headers,
      },
      ...(options.body === undefined ? {} : { body: JSON.stringify(options.body) }),
      ...(options.bytes === undefined ? {} : { body: Buffer.from(options.bytes) }),
    });
    const bytes = Buffer.from(await response.arrayBuffer());
    const type = response.headers.get('content-type') ?? '';
    const json = /json/.test(type) && bytes.length > 0 ? JSON.parse(bytes.toString()) : undefined;
    return { status: response.status, headers: response.headers, bytes, json };
  }

  /** The JSON of an answer that must be a success. */
  async ok<T>(method: string, path: string, options: CallOptions = {}): Promise<T> {
    const answer = await this.call(method, path, options);
    if (answer.status >= 300) throw new Error(`${method} ${path}: ${answer.status} ${answer.bytes.toString()}`);
    return answer.json as T;
  }

  /** The problem of an answer that must be a refusal. */
  async refused(method: string, path: string, options: CallOptions = {}): Promise<Problem> {
    return problemOf(await this.call(method, path, options), `${method} ${path}`);
  }

  begin(request: Readonly<Record<string, unknown>>, headers: Readonly<Record<string, string>> = {}) {
    return this.ok<UploadResource>('POST', '/uploads', { body: request, headers });
  }

  /** A PUT of `bytes` at `offset`; `total` only when it is said. */
  tryPut(id: string, offset: number, bytes: Uint8Array, headers: Readonly<Record<string, string>> = {}) {
    return this.call('PUT', `/uploads/${id}/data`, {
      bytes,
      headers: { 'content-range': `bytes ${offset}-${offset + bytes.length - 1}/*`, ...headers },
    });
  }

  async put(id: string, offset: number, bytes: Uint8Array, headers: Readonly<Record<string, string>> = {}) {
    const answer = await this.tryPut(id, offset, bytes, headers);
    if (answer.status !== 200) throw new Error(`PUT at ${offset}: ${answer.status} ${answer.bytes.toString()}`);
    return answer.json as Receipt;
  }

  async refusedPut(id: string, offset: number, bytes: Uint8Array, headers: Readonly<Record<string, string>> = {}) {
    return problemOf(await this.tryPut(id, offset, bytes, headers), `PUT at ${offset}`);
  }

  zeros(id: string, ...ranges: readonly { offset: number; length: number }[]) {
    return this.ok<Receipt>('POST', `/uploads/${id}/zeros`, { body: { ranges } });
  }

  ranges(id: string) {
    return this.ok<ReceivedRanges>('GET', `/uploads/${id}/ranges`);
  }

  finish(id: string, body: Readonly<Record<string, unknown>> = {}) {
    return this.ok<FinishAnswer>('POST', `/uploads/${id}/finish`, { body });
  }

  upload(id: string) {
    return this.ok<UploadResource>('GET', `/uploads/${id}`);
  }

  image(id: string) {
    return this.ok<ImageResource>('GET', `/images/${id}`);
  }

  task(id: string) {
    return this.ok<TaskResource>('GET', `/tasks/${id}`);
  }

  async data(imageId: string): Promise<Buffer> {
    const answer = await this.call('GET', `/images/${imageId}/data`);
    expect(answer.status).toBe(200);
    return answer.bytes;
  }

  /** A whole Image of these bytes, ready. */
  async makeImage(name: string, bytes: Uint8Array): Promise<ImageResource> {
    const upload = await this.begin({ name, size: bytes.length });
    for (let at = 0; at < bytes.length; at += 16 * MiB)
      await this.put(upload.id, at, bytes.subarray(at, at + 16 * MiB));
    return (await this.finish(upload.id)).image;
  }

  /** Resolves when the Task is in one of these states. */
  taskIs(id: string, ...states: readonly string[]): Promise<TaskResource> {
    return until(async () => {
      const task = await this.task(id);
      return states.includes(task.state) ? task : undefined;
    });
  }
}

/** After whatever happened before: a good upload works. Every file of the wire suite ends its trouble with it. */
export async function nextUploadWorks(caller: Caller): Promise<void> {
  const bytes = randomBytes(3 * MiB + 77);
  const image = await caller.makeImage('the next good one', bytes);
  expect(image).toMatchObject({ state: 'ready', size: bytes.length, digests: [`tree-sha256:${treeSha256(bytes)}`] });
  expect((await caller.data(image.id)).equals(bytes)).toBe(true);
  await caller.ok('DELETE', `/images/${image.id}`);
}

/** Asks again until there is an answer; only the test's own time ends it. */
export async function until<T>(ask: () => Promise<T | undefined | false>): Promise<T> {
  for (;;) {
    const found = await ask();
    if (found !== undefined && found !== false) return found;
    await delay(40);
  }
}

/** Hawser's tree digest, computed anew: SHA-256 over the SHA-256s of the 1 MiB blocks. */
export function treeSha256(bytes: Uint8Array): string {
  return sha256(Buffer.concat(leavesOf(bytes)));
}

export function leavesOf(bytes: Uint8Array): readonly Buffer[] {
  const leaves: Buffer[] = [];
  for (let at = 0; at < bytes.length; at += MiB)
    leaves.push(
      createHash('sha256')
        .update(bytes.subarray(at, at + MiB))
        .digest(),
    );
  return leaves;
}

export function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}

/** As RFC 9530 writes it. */
export function contentDigest(bytes: Uint8Array, algorithm: 'sha-256' | 'sha-512' = 'sha-256'): string {
  return `${algorithm}=:${createHash(algorithm.replace('-', '')).update(bytes).digest('base64')}:`;
}

export function problemOf(answer: Answer, what: string): Problem {
  if (answer.status < 400)
    throw new Error(`${what} was not refused: ${answer.status} ${answer.bytes.toString().slice(0, 500)}`);
  expect(answer.headers.get('content-type')).toContain('application/problem+json');
  return answer.json as Problem;
}
