import { expect, test, vi } from 'vitest';
import type { AgentEvent } from '../../contract/link.ts';
import { hostStage } from './testing/host-stage.ts';

test('looks at a Store that hangs piled up; the agent says meanwhile that it lives', { timeout: 60_000 }, async () => {
  await using stage = await hostStage();
  const [store] = stage.stores;
  if (store === undefined) throw new Error('a store is wanted');
  const told: AgentEvent['kind'][] = [];
  const ending = new AbortController();
  await stage.agent.subscribe(({ kind }) => void told.push(kind), ending.signal);
  const usage = await store.usage();
  const hanging = Promise.withResolvers<typeof usage>();
  const looks = vi.spyOn(store, 'usage').mockImplementation(() => hanging.promise);
  await expect.poll(() => told, { timeout: 30_000 }).toEqual(['full', 'alive', 'alive']);
  expect(looks).toHaveBeenCalledTimes(1);
  hanging.resolve(usage);
  await expect.poll(() => told.slice(3), { timeout: 30_000 }).toContain('stores');
  ending.abort();
});
