// JavaScript, not TypeScript: each thread would load the compiler's own 10 MiB to strip four types.
import { hash } from 'node:crypto';
import { parentPort } from 'node:worker_threads';

parentPort?.on('message', (/** @type {import('./hash-pool.ts').HashTask} */ { id, memory, ranges }) => {
  const digests = ranges.map(({ offset, length }) => hash('sha256', new Uint8Array(memory, offset, length), 'buffer'));
  parentPort?.postMessage({ id, digests: Uint8Array.from(Buffer.concat(digests)) });
});
