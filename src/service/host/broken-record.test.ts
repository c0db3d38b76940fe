import { randomBytes, randomUUID } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import type { AgentEvent } from '../../contract/link.ts';
import { agentEvent } from '../../contract/link.ts';
import { sourceOf } from '../../engine/testing/rig.ts';
import { type HostStage, hostStage, never } from './testing/host-stage.ts';

const MiB = 1024 * 1024;

async function fullOf(host: HostStage): Promise<Extract<AgentEvent, { kind: 'full' }>> {
  const found = Promise.withResolvers<Extract<AgentEvent, { kind: 'full' }>>();
  const stop = new AbortController();
  await host.agent.subscribe((event) => event.kind === 'full' && found.resolve(event), stop.signal);
  stop.abort();
  return found.promise;
}

test('a record that cannot be read is reported and kept; the agent starts, and the other uploads go on', async () => {
  await using host = await hostStage();
  const [good, cut, foreign] = [await host.open(), await host.open(), await host.open()];
  const request = { offset: 0, length: MiB, total: null };
  for (const ref of [good, cut]) {
    await host.agent.plane.receive(ref.uploadId, request, sourceOf(randomBytes(MiB)), never);
  }
  const fileOf = (id: string) => join(host.folder, 'agent', 'uploads', `${id}.json`);
  const half = (await readFile(fileOf(cut.uploadId), 'utf8')).slice(0, 80);
  await writeFile(fileOf(cut.uploadId), half);
  await writeFile(fileOf(foreign.uploadId), '{"generation":7}');
  await writeFile(fileOf('notes'), 'mine');
  await host.restart();
  const full = await fullOf(host);
  expect(agentEvent.safeParse(full).success).toBe(true);
  expect(full.uploads).toHaveLength(3);
  const told = new Map(full.uploads.map((upload) => [upload.uploadId, upload]));
  expect(told.get(good.uploadId)).toMatchObject({ receivedBytes: MiB, problem: null });
  expect(told.get(cut.uploadId)).toMatchObject({ generation: 1, problem: { code: 'store-failed' } });
  expect(told.get(foreign.uploadId)).toMatchObject({ generation: 7, problem: { code: 'store-failed' } });
  await host.agent.plane.receive(good.uploadId, { ...request, offset: MiB }, sourceOf(randomBytes(MiB)), never);
  await host.agent.call('discardUpload', { uploadId: cut.uploadId, generation: 1 });
  expect((await fullOf(host)).uploads).toHaveLength(2);
  expect(await readFile(fileOf(cut.uploadId), 'utf8')).toBe(half);
  expect(await readFile(join(host.folder, 'agent', 'uploads', `${cut.uploadId}.journal`))).not.toHaveLength(0);
  await host.agent.call('discardUpload', { uploadId: randomUUID(), generation: 1 });
});
