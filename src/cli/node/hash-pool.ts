import { createHash } from 'node:crypto';
import { availableParallelism } from 'node:os';
import { Worker } from 'node:worker_threads';
import type { Hashing } from '../../client/ports.ts';

export interface HashTask {
  readonly id: number;
  readonly memory: SharedArrayBuffer;
  readonly ranges: readonly { readonly offset: number; readonly length: number }[];
}
interface HashAnswer {
  readonly id: number;
  readonly digests: Uint8Array;
}
interface Pending {
  readonly resolve: (digests: Uint8Array) => void;
  readonly reject: (error: unknown) => void;
}

const DIGEST = 32;

/** SHA-256 in worker threads, over memory that is shared with them: nothing is copied. Workers start with the first use. */
export class HashPool implements Hashing, AsyncDisposable {
  readonly #size: number;
  readonly #pending = new Map<number, Pending>();
  #workers: readonly Worker[] | undefined;
  #next = 0;

  constructor(size = Math.max(1, Math.min(2, availableParallelism()))) {
    this.#size = size;
  }

  allocate(length: number): Uint8Array {
    return new Uint8Array(new SharedArrayBuffer(length));
  }

  async sha256(views: readonly Uint8Array[]): Promise<readonly Uint8Array[]> {
    if (views.length === 0) return [];
    const workers = this.#started();
    const each = Math.ceil(views.length / workers.length);
    const parts: Promise<Uint8Array>[] = [];
    for (let i = 0; i < views.length; i += each) parts.push(this.#ask(workers, views.slice(i, i + each)));
    const digests = await Promise.all(parts);
    return digests.flatMap((joined) =>
      Array.from({ length: joined.length / DIGEST }, (_, i) => joined.subarray(i * DIGEST, (i + 1) * DIGEST)),
    );
  }

  async sha256Of(parts: Iterable<Uint8Array>): Promise<Uint8Array> {
    const whole = createHash('sha256');
    for (const part of parts) whole.update(part);
    return whole.digest();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const workers = this.#workers ?? [];
    this.#workers = undefined;
    await Promise.all(workers.map((worker) => worker.terminate()));
  }

  #ask(workers: readonly Worker[], views: readonly Uint8Array[]): Promise<Uint8Array> {
    const id = this.#next++;
    const worker = workers[id % workers.length];
    const memory = views[0]?.buffer;
    if (worker === undefined || !(memory instanceof SharedArrayBuffer) || views.some((v) => v.buffer !== memory)) {
      throw new TypeError('bytes to be hashed must lie in one buffer that allocate gave');
    }
    const ranges = views.map((view) => ({ offset: view.byteOffset, length: view.length }));
    return new Promise((resolve, reject) => {
      this.#pending.set(id, { resolve, reject });
      worker.postMessage({ id, memory, ranges } satisfies HashTask);
    });
  }

  #started(): readonly Worker[] {
    this.#workers ??= Array.from({ length: this.#size }, () => {
      const worker = new Worker(new URL('./hash-worker.js', import.meta.url), {
        resourceLimits: { maxOldGenerationSizeMb: 32, maxYoungGenerationSizeMb: 4 },
      });
      worker.on('message', ({ id, digests }: HashAnswer) => {
        this.#pending.get(id)?.resolve(digests);
        this.#pending.delete(id);
      });
      worker.on('error', (error) => {
        for (const { reject } of this.#pending.values()) reject(error);
        this.#pending.clear();
      });
      return worker;
    });
    return this.#workers;
  }
}
