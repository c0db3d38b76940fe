import { createHash, type Hash } from 'node:crypto';
import { parentPort } from 'node:worker_threads';

/** What the pool asks of a worker. Slabs are sent once and named by index afterwards. */
export type HashRequest =
  | { readonly kind: 'slab'; readonly slab: number; readonly shared: SharedArrayBuffer }
  | { readonly kind: 'leaf'; readonly id: number; readonly slab: number; readonly from: number; readonly to: number }
  | { readonly kind: 'open'; readonly stream: number; readonly algorithm: string }
  | {
      readonly kind: 'update';
      readonly id: number;
      readonly stream: number;
      readonly slab: number;
      readonly from: number;
      readonly to: number;
    }
  | { readonly kind: 'zeros'; readonly id: number; readonly stream: number; readonly length: number }
  | { readonly kind: 'digest'; readonly id: number; readonly stream: number }
  | { readonly kind: 'drop'; readonly stream: number };

export interface HashAnswer {
  readonly id: number;
  readonly digest?: Uint8Array;
  readonly error?: string;
}

const slabs = new Map<number, Uint8Array>();
const streams = new Map<number, Hash>();
const noughts = new Uint8Array(1024 * 1024);

parentPort?.on('message', (request: HashRequest) => {
  try {
    const answer = serve(request);
    if (answer !== undefined) parentPort?.postMessage(answer);
  } catch (error) {
    if ('id' in request) parentPort?.postMessage({ id: request.id, error: String(error) } satisfies HashAnswer);
  }
});

function serve(request: HashRequest): HashAnswer | undefined {
  switch (request.kind) {
    case 'slab':
      slabs.set(request.slab, new Uint8Array(request.shared));
      return undefined;
    case 'leaf':
      return { id: request.id, digest: createHash('sha256').update(view(request)).digest() };
    case 'open':
      streams.set(request.stream, createHash(request.algorithm));
      return undefined;
    case 'update':
      stream(request.stream).update(view(request));
      return { id: request.id };
    case 'zeros': {
      const hash = stream(request.stream);
      for (let left = request.length; left > 0; left -= noughts.length) {
        hash.update(left < noughts.length ? noughts.subarray(0, left) : noughts);
      }
      return { id: request.id };
    }
    case 'digest': {
      const digest = stream(request.stream).digest();
      streams.delete(request.stream);
      return { id: request.id, digest };
    }
    case 'drop':
      streams.delete(request.stream);
      return undefined;
  }
}

function view(request: { readonly slab: number; readonly from: number; readonly to: number }): Uint8Array {
  const slab = slabs.get(request.slab);
  if (slab === undefined) throw new Error(`slab ${request.slab} is not known here`);
  return slab.subarray(request.from, request.to);
}

function stream(id: number): Hash {
  const hash = streams.get(id);
  if (hash === undefined) throw new Error(`hash stream ${id} is not open`);
  return hash;
}
