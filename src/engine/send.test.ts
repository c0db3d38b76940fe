import { randomBytes } from 'node:crypto';
import { expect, test } from 'vitest';
import { TREE_BLOCK } from '../core/digest.ts';
import { openMemoryStore } from '../stores/memory/store.ts';
import { sendRange } from './send.ts';
import { SlabPool } from './slab-pool.ts';

async function sealed(bytes: Uint8Array) {
  const store = openMemoryStore({ name: 'test', capacity: 64 * TREE_BLOCK });
  await using writer = await store.create({ key: 'k' });
  await writer.write(bytes, 0);
  await writer.seal(bytes.length);
  return store.open('k');
}

test('readers that stall leave slabs for those who receive, and other readers go on', async () => {
  const bytes = randomBytes(5 * TREE_BLOCK + 333);
  await using reader = await sealed(bytes);
  const slabs = new SlabPool(6);
  const whole = { offset: 0, length: bytes.length };
  const stop = new AbortController();
  const stalled = Array.from({ length: 20 }, () => {
    const writing = Promise.withResolvers<void>();
    const write = () => {
      writing.resolve();
      return new Promise<void>((_resolve, reject) =>
        stop.signal.addEventListener('abort', () => reject(stop.signal.reason)),
      );
    };
    const ended = sendRange({ reader, range: whole, slabs }, { write }, stop.signal).catch(() => {});
    return { writing: writing.promise, ended };
  });
  await Promise.all(stalled.map(({ writing }) => writing));
  expect(slabs.inUse).toBeLessThanOrEqual(3);
  const got: Buffer[] = [];
  const write = async (chunk: Uint8Array) => void got.push(Buffer.from(chunk));
  await sendRange({ reader, range: { offset: 7, length: bytes.length - 9 }, slabs }, { write }, stop.signal);
  expect(Buffer.concat(got).equals(bytes.subarray(7, -2))).toBe(true);
  stop.abort(new Error('over'));
  await Promise.all(stalled.map(({ ended }) => ended));
  expect(slabs.inUse).toBe(0);
});
