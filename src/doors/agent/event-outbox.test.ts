import { randomUUID } from 'node:crypto';
import { PassThrough } from 'node:stream';
import { text } from 'node:stream/consumers';
import { expect, test } from 'vitest';
import type { AgentEvent } from '../../contract/link.ts';
import { eventOutbox } from './event-outbox.ts';

function work(taskId: string, doneBytes: number): AgentEvent {
  return {
    kind: 'work',
    work: { taskId, generation: 1, state: 'running', doneBytes, totalBytes: 9, problem: null, result: null },
  };
}

test('events piled up while control did not read: of each thing the latest waits, and comes in the end', async () => {
  const stream = new PassThrough({ highWaterMark: 1 });
  const tell = eventOutbox(stream);
  const [one, two] = [randomUUID(), randomUUID()];
  tell({ kind: 'stores', stores: [] });
  const first = stream.writableLength + stream.readableLength;
  for (let done = 0; done < 1000; done++) {
    tell(work(one, done));
    tell(work(two, done + 1));
    tell({ kind: 'alive', at: new Date(0).toISOString() });
  }
  expect(stream.writableLength + stream.readableLength).toBe(first);
  const all = text(stream);
  await expect.poll(() => stream.writableLength).toBe(0);
  tell(work(one, 1000));
  stream.end();
  const told = (await all).trim().split('\n');
  expect(told.map((line) => JSON.parse(line))).toEqual([
    { kind: 'stores', stores: [] },
    work(one, 999),
    work(two, 1000),
    { kind: 'alive', at: new Date(0).toISOString() },
    work(one, 1000),
  ]);
});
