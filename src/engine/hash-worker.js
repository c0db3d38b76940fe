// Plain JavaScript: a worker that has to strip types takes ten MiB more. Types and meaning: hash-pool.ts.
import { createHash } from 'node:crypto';
import { parentPort } from 'node:worker_threads';
import { sha256Each } from '../native/sha256.js';

/** @type {Map<number, Uint8Array>} */
const slabs = new Map();
/** @type {Map<number, import('node:crypto').Hash>} */
const streams = new Map();
/** Of the message that is being served: they are hashed together. */
let leaves = [];
const noughts = new Uint8Array(1024 * 1024);

parentPort?.on('message', (requests) => {
  const answers = requests.flatMap((request) => attempt(request) ?? []);
  answers.push(...digestLeaves());
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
      leaves.push({ id: request.id, bytes: view(request) });
      return undefined;
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

function digestLeaves() {
  const asked = leaves;
  leaves = [];
  const digests = sha256Each(asked.map(({ bytes }) => bytes));
  return asked.map(({ id }, i) => ({ id, digest: digests[i] }));
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
