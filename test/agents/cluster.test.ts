import { createHash, randomBytes } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { runCli } from '../wire/cli.ts';
import { type Cluster, startCluster } from './cluster.ts';

let cluster: Cluster;
beforeAll(async () => {
  cluster = await startCluster({ agents: 2 });
});
afterAll(() => cluster?.[Symbol.asyncDispose]());

test.each([
  ['directly', []],
  ['through control', ['--relay']],
] as const)('the CLI uploads and downloads %s', async (_way, flags) => {
  const { folder: cwd, control } = cluster;
  const bytes = randomBytes(20 * 2 ** 20 + 12345);
  await writeFile(join(cwd, 'a.img'), bytes);
  const server = { server: control.api, token: control.token, cwd };
  expect(await runCli(['upload', ...flags, 'a.img', 'a'], server)).toMatchObject({ code: 0 });
  expect(await runCli(['download', '--force', ...flags, 'a', 'b.img'], server)).toMatchObject({ code: 0 });
  const sha = (data: Uint8Array) => createHash('sha256').update(data).digest('hex');
  expect(sha(await readFile(join(cwd, 'b.img')))).toBe(sha(bytes));
  expect((await control.ask('/images?name=a')).status).toBe(200);
  const { items } = await control.json<{ items: { id: string }[] }>('/images?name=a');
  await control.ask(`/images/${items[0]?.id}`, { method: 'DELETE' });
});
