// Plain JavaScript: a worker that has to strip types takes ten MiB more. Types and meaning: hash-pool.ts.
import { createHash } from 'node:crypto';
import { parentPort } from 'node:worker_threads';

/** @type {Map<number, Uint8Array>} */
const slabs = new Map();
/** @type {Map<number, import('node:crypto').Hash>} */
const streams = new Map();
const noughts = new Uint8Array(1024 * 1024);

parentPort?.on('message', (requests) => {
  const answers = requests.flatMap((request) => attempt(request) ?? []);
  if (answers.length > 0) parentPort?.postMessage(answers);
});

function attempt(request) {
  try {
    return serve(request);
  } catch (error) {
    return 'id' in request ? { id: request.id, error: String(error) } : undefined;
  }
}

function serve(request) {
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

function view({ slab, from, to }) {
  const bytes = slabs.get(slab);
  if (bytes === undefined) throw new Error(`slab ${slab} is not known here`);
  return bytes.subarray(from, to);
}

function stream(id) {
  const hash = streams.get(id);
  if (hash === undefined) throw new Error(`hash stream ${id} is not open`);
  return hash;
}
