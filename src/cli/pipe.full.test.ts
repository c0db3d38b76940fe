import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { open } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { Caller } from '../../test/wire/caller.ts';
import { type Serving, startServing } from '../../test/wire/serving.ts';

const bin = fileURLToPath(new URL('../../bin/hawser', import.meta.url));

let serving: Serving;
beforeAll(async () => {
  serving = await startServing();
  const api = new Caller(serving.api, serving.token);
  const bytes = randomBytes(8 * 1024 * 1024);
  const upload = await api.begin({ name: 'disk', size: bytes.length });
  await api.put(upload.id, 0, bytes);
  await api.finish(upload.id);
});
afterAll(() => serving[Symbol.asyncDispose]());

function hawser(args: readonly string[], stdout: 'pipe' | number) {
  const child = spawn(bin, ['--server', serving.api, '--token', serving.token, ...args], {
    stdio: ['ignore', stdout, 'pipe'],
  });
  let said = '';
  child.stderr?.on('data', (chunk: Buffer) => {
    said += chunk.toString();
  });
  const ended = once(child, 'close').then(([code]) => ({ code, said }));
  return { child, ended };
}

test('a download through a pipe that is cut has failed, and says so', async () => {
  const { child, ended } = hawser(['-q', 'download', 'disk', '-'], 'pipe');
  child.stdout?.once('readable', () => child.stdout?.destroy());
  expect(await ended).toEqual({ code: 1, said: expect.stringContaining('EPIPE') });
});

test.each([
  [['-q', 'download', 'disk', '-'], 'hawser: '],
  [['image', 'ls'], 'hawser: The output could not be written'],
])('%j onto a full disk has failed, and says so', async (args, text) => {
  const full = await open('/dev/full', 'w');
  const { ended } = hawser(args, full.fd);
  expect(await ended).toEqual({ code: expect.any(Number), said: expect.stringContaining(text) });
  expect((await ended).code).toBeGreaterThan(0);
  await full.close();
});
