import { randomBytes } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect } from 'vitest';
import { testWith } from '../needs.ts';
import { runCli } from '../wire/cli.ts';
import { type Cluster, startCluster } from './cluster.ts';

let cluster: Cluster;
beforeAll(async () => {
  // Each process writes the names of all files that it opens, its children too.
  cluster = await startCluster({ agents: 2, traced: true });
});
afterAll(() => cluster?.[Symbol.asyncDispose]());

testWith('strace')('no process opens a file of another one; control opens no Store', async () => {
  const { control, folder: cwd } = cluster;
  await writeFile(join(cwd, 'a.img'), randomBytes(20 * 2 ** 20));
  const server = { server: control.api, token: control.token, cwd };
  for (const flags of [[], ['--relay']]) {
    for (const name of ['a', 'b', 'c']) {
      expect(await runCli(['upload', ...flags, '--restart', 'a.img', name], server)).toMatchObject({ code: 0 });
      expect(await runCli(['download', '--force', ...flags, name, 'b.img'], server)).toMatchObject({ code: 0 });
      expect(await runCli(['image', 'rm', name], server)).toMatchObject({ code: 0 });
    }
  }
  const stores = new Set<string>();
  for (const process of [control, ...cluster.agents]) {
    const trace = await readFile(`${process.dataDir}.trace`, 'utf8');
    const opened = [...trace.matchAll(/"([^"]+)"/g)].map(([, path]) => path ?? '');
    const below = opened.filter((path) => path.startsWith(`${cwd}/`) && !path.includes('.trace'));
    expect(below.length).toBeGreaterThan(10);
    expect(below.filter((path) => path !== process.dataDir && !path.startsWith(`${process.dataDir}/`))).toEqual([]);
    if (below.some((path) => path.startsWith(join(process.dataDir, 'stores')))) stores.add(process.dataDir);
  }
  expect([...stores].sort()).toEqual(cluster.agents.map(({ dataDir }) => dataDir).sort());
});
