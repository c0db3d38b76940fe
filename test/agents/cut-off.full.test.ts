import { createHash, randomBytes } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { UploadResource } from '../../src/contract/api/upload.ts';
import { type CliResult, runCli } from '../wire/cli.ts';
import { type Cluster, startCluster } from './cluster.ts';

const SIZE = 48 * 2 ** 20;
const bytes = randomBytes(SIZE);
const digest = sha256(bytes);

let cluster: Cluster;
beforeAll(async () => {
  cluster = await startCluster({
    agents: 1,
    cuttable: true,
    controlEnv: { HAWSER_LIMITS_TASK_RATE: String(6 * 2 ** 20) },
  });
  await writeFile(join(cluster.folder, 'a.img'), bytes);
});
afterAll(() => cluster?.[Symbol.asyncDispose]());

function sha256(data: Uint8Array): string {
  return createHash('sha256').update(data).digest('hex');
}

function cli(...args: readonly string[]): Promise<CliResult> {
  const { control, folder } = cluster;
  return runCli(args, { server: control.api, token: control.token, cwd: folder });
}

/** Waits until so many bytes of the newest upload are there. */
async function received(wanted: number): Promise<void> {
  for (;;) {
    const { items } = await cluster.control.json<{ items: UploadResource[] }>('/uploads?state=open');
    if ((items[0]?.receivedBytes ?? 0) >= wanted) return;
  }
}

async function mustBeThere(name: string): Promise<void> {
  expect(await cli('download', '--force', name, 'b.img')).toMatchObject({ code: 0 });
  expect(sha256(await readFile(join(cluster.folder, 'b.img')))).toBe(digest);
  expect(await cli('image', 'rm', name)).toMatchObject({ code: 0 });
}

test('a partitioned agent is offline, keeps what it has, and goes on when the network is back', async () => {
  const { control } = cluster;
  const uploading = cli('upload', 'a.img', 'cut off');
  await received(SIZE / 4);
  cluster.agent(0).partition({ data: true });
  const away = await control.hostIs('host0', ({ state }) => state === 'offline');
  expect(away.status).toMatch(/not heard|not reached/);
  expect((await control.ask('/uploads', { method: 'POST', body: JSON.stringify({ name: 'x', size: 1 }) })).status).toBe(
    503,
  );
  cluster.agent(0).heal();
  await cluster.online();
  const first = await uploading;
  if (first.code !== 0) expect(await cli('upload', 'a.img', 'cut off')).toMatchObject({ code: 0 });
  await mustBeThere('cut off');
});
