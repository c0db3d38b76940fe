import { expect, test } from 'vitest';
import { running } from './running.ts';

test('parts end in the reverse order, once, when it is stopped', async () => {
  const ended: string[] = [];
  const it = await running(async (stack) => {
    stack.defer(() => void ended.push('first'));
    stack.defer(() => void ended.push('second'));
    return { name: 'it' };
  });
  expect([it.name, ended]).toEqual(['it', []]);
  await it.stop();
  await it.stop();
  expect(ended).toEqual(['second', 'first']);
});

test('a start that fails in the middle ends what it had begun, and says why it failed', async () => {
  const ended: string[] = [];
  const started = running(async (stack) => {
    stack.defer(() => void ended.push('first'));
    throw new Error('the second one');
  });
  await expect(started).rejects.toThrow('the second one');
  expect(ended).toEqual(['first']);
});
