import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, test } from 'vitest';

const bin = fileURLToPath(new URL('../../bin/hawser', import.meta.url));

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'hawser-serve-'));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

function start(dataDir: string, env: Readonly<Record<string, string>> = {}) {
  const child = spawn(bin, ['serve'], {
    env: {
      ...process.env,
      HAWSER_DATA_DIR: dataDir,
      HAWSER_LISTEN: '127.0.0.1:0',
      HAWSER_DATA_LISTEN: '127.0.0.1:0',
      ...env,
    },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let said = '';
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk: Buffer) => (said += chunk.toString()));
  const ended = once(child, 'exit').then(([code]) => code as number | null);
  const heard = (text: string) =>
    new Promise<void>((resolve) => {
      const look = () => said.includes(text) && resolve();
      for (const stream of [child.stdout, child.stderr]) stream.on('data', look);
      look();
    });
  return { child, ended, heard, said: () => said };
}

test('told to stop while it starts, it stops', async () => {
  // The first line of the log is the data listener's: the agent has not reported yet.
  const serving = start(join(folder, 'early'));
  await serving.heard('Server listening');
  serving.child.kill('SIGTERM');
  expect(await serving.ended).toBe(0);
});

test('an address that is taken is named with the setting, and nothing is left running', async () => {
  const other = createServer().listen(0, '127.0.0.1');
  await once(other, 'listening');
  const address = other.address();
  const port = typeof address === 'object' ? address?.port : undefined;
  const serving = start(join(folder, 'taken'), { HAWSER_LISTEN: `127.0.0.1:${port}` });
  expect(await serving.ended).toBe(4);
  expect(serving.said()).toContain(`cannot listen at 127.0.0.1:${port} (listen): another program does`);
  other.close();
});

test('the addresses that a killed one left are gone before the next is ready', async () => {
  const dataDir = join(folder, 'stale');
  const stale = join(dataDir, 'run', 'addresses.json');
  await mkdir(join(dataDir, 'run'), { recursive: true, mode: 0o700 });
  await writeFile(stale, '{"api":"http://127.0.0.1:1"}');
  // A store folder that cannot be made: it gets past the lock and no further.
  await writeFile(join(dataDir, 'hawser.yaml'), 'stores: [{ name: a, path: /proc/nothing-here }]\n');
  const serving = start(dataDir);
  expect(await serving.ended).not.toBe(0);
  expect(serving.said()).toContain('The Store "a" cannot make its folder /proc/nothing-here');
  expect(existsSync(stale)).toBe(false);
});
