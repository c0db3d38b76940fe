import { hash } from 'node:crypto';
import { parentPort } from 'node:worker_threads';
import type { HashTask } from './hash-pool.ts';

parentPort?.on('message', ({ id, memory, ranges }: HashTask) => {
  const digests = ranges.map(({ offset, length }) => hash('sha256', new Uint8Array(memory, offset, length), 'buffer'));
  parentPort?.postMessage({ id, digests: Uint8Array.from(Buffer.concat(digests)) });
});
