import { randomBytes } from 'node:crypto';
import { open, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { expect } from 'vitest';
import { mountLoop } from '../conformance/loop-filesystem.ts';
import { testWith } from '../needs.ts';
import { Caller, MiB, nextUploadWorks, treeSha256, until } from './caller.ts';
import { startServing } from './serving.ts';

testWith('loop')(
  'a filesystem that is full in the middle: 507, the task pauses, and with room it goes on to its end',
  async () => {
    await using small = await mountLoop({ filesystem: 'ext4', sectorSize: 512, size: 160 * MiB });
    const yaml = `stores:\n  - name: small\n    path: ${join(small.path, 'store')}\n`;
    await using serving = await startServing({ yaml });
    const api = new Caller(serving.api, serving.token);
    const bytes = randomBytes(64 * MiB);
    const upload = await api.begin({ name: 'grows', size: bytes.length });
    await api.put(upload.id, 0, bytes.subarray(0, 16 * MiB));

    const ballast = join(small.path, 'somebody-elses-file');
    await fill(ballast);
    let refused = 0;
    for (let at = 16 * MiB; at < bytes.length && refused === 0; at += 8 * MiB) {
      const answer = await api.tryPut(upload.id, at, bytes.subarray(at, at + 8 * MiB));
      if (answer.status === 200) continue;
      refused = answer.status;
      expect(answer.json).toMatchObject({ code: 'store-full', retryable: true });
      expect(JSON.stringify(answer.json)).not.toContain(small.path);
    }
    expect(refused).toBe(507);
    expect(await api.taskIs(upload.taskId, 'PAUSED')).toMatchObject({ cause: 'store-full' });
    expect((await api.upload(upload.id)).state).toBe('open');

    const had = await api.ranges(upload.id);
    await rm(ballast);
    const gaps = gapsOf(had.ranges, bytes.length);
    for (const { offset, length } of gaps) await api.put(upload.id, offset, bytes.subarray(offset, offset + length));
    await api.taskIs(upload.taskId, 'RUNNING');
    const { image } = await api.finish(upload.id, { digest: `tree-sha256:${treeSha256(bytes)}` });
    expect((await api.data(image.id)).equals(bytes)).toBe(true);

    // What was promised to nobody is refused at the start, and a promise holds others off.
    expect((await api.refused('POST', '/uploads', { body: { name: 'too big', size: 150 * MiB } })).code).toBe(
      'store-full',
    );
    const first = await api.begin({ name: 'promised', size: 40 * MiB });
    expect((await api.refused('POST', '/uploads', { body: { name: 'no room left', size: 60 * MiB } })).code).toBe(
      'store-full',
    );
    await api.ok('DELETE', `/uploads/${first.id}`);
    await until(
      async () => (await api.call('POST', '/uploads', { body: { name: 'room again', size: 60 * MiB } })).status === 201,
    );
    const { items } = await api.ok<{ items: { id: string }[] }>('GET', '/uploads?name=room%20again');
    for (const { id } of items) await api.ok('DELETE', `/uploads/${id}`);
    await nextUploadWorks(api);
  },
);

function gapsOf(ranges: readonly { offset: number; length: number }[], size: number) {
  const gaps: { offset: number; length: number }[] = [];
  let at = 0;
  for (const { offset, length } of [...ranges, { offset: size, length: 0 }]) {
    if (offset > at) gaps.push({ offset: at, length: offset - at });
    at = offset + length;
  }
  return gaps;
}

/** Writes until there is no space left at all. */
async function fill(path: string): Promise<void> {
  await using file = await open(path, 'w');
  for (const step of [MiB, 4096]) {
    const block = Buffer.alloc(step, 0x55);
    try {
      for (;;) await file.appendFile(block);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOSPC') throw error;
    }
  }
  await file.sync();
}
