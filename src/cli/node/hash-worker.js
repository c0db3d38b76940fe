// JavaScript, not TypeScript: each thread would load the compiler's own 10 MiB to strip four types.
import { parentPort } from 'node:worker_threads';
import { sha256Each } from '../../native/sha256.js';

parentPort?.on('message', (/** @type {import('./hash-pool.ts').HashTask} */ { id, memory, ranges }) => {
  const digests = sha256Each(ranges.map(({ offset, length }) => new Uint8Array(memory, offset, length)));
  parentPort?.postMessage({ id, digests: Uint8Array.from(Buffer.concat(digests)) });
});
