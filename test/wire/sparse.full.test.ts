import { open, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import type { ImageResource } from '../../src/contract/api/image.ts';
import { Caller, MiB, nextUploadWorks } from './caller.ts';
import { runCli } from './cli.ts';
import { Peak } from './proc.ts';
import { type Serving, startServing } from './serving.ts';
import { makeSparseFile } from './sparse-file.ts';

const GiB = 1024 * MiB;
const DATA = GiB;

interface Trip {
  readonly uploadSeconds: number;
  readonly downloadSeconds: number;
  readonly readUp: number;
  readonly readDown: number;
  /** Most memory of the CLI and of the server, bytes. */
  readonly cli: number;
  readonly serve: number;
}

test('a 100 GiB image with 1 GiB of data goes up and down: holes stay holes, are never read, and memory does not grow', async () => {
  await using serving = await startServing();
  const dense = await trip(serving, 'dense', DATA);
  const sparse = await trip(serving, 'sparse', 100 * GiB);
  for (const [name, { uploadSeconds, downloadSeconds, readUp, readDown, cli, serve }] of Object.entries({
    dense,
    sparse,
  })) {
    console.log(
      `${name}: up ${uploadSeconds.toFixed(1)} s, down ${downloadSeconds.toFixed(1)} s; the CLI read ${Math.round(readUp / MiB)} MiB up, ${Math.round(readDown / MiB)} MiB down; most memory: CLI ${Math.round(cli / MiB)} MiB, serve ${Math.round(serve / MiB)} MiB`,
    );
  }
  expect(sparse.readUp).toBeLessThanOrEqual(1.1 * DATA);
  for (const { cli, serve } of [dense, sparse]) {
    expect(cli).toBeLessThan(200 * MiB);
    expect(serve).toBeLessThan(200 * MiB);
  }
  expect(sparse.cli - dense.cli).toBeLessThan(20 * MiB);
  expect(sparse.serve - dense.serve).toBeLessThan(20 * MiB);
  await nextUploadWorks(new Caller(serving.api, serving.token));
});

async function trip(serving: Serving, name: string, size: number): Promise<Trip> {
  const api = new Caller(serving.api, serving.token);
  const [source, target] = [join(serving.folder, `${name}-source`), join(serving.folder, `${name}-target`)];
  const pieces = await makeSparseFile(source, size, DATA);
  const [cli, serve] = [new Peak(), new Peak()];
  const sample = async (pid: number) => {
    await cli.sample(pid);
    await serve.sample(serving.pid);
  };
  const options = { server: serving.api, token: serving.token, cwd: serving.folder, sample };
  const up = await runCli(['upload', source, name], options);
  expect(up.code, up.stderr).toBe(0);
  const { items } = await api.ok<{ items: ImageResource[] }>('GET', `/images?name=${name}`);
  expect(items).toMatchObject([{ state: 'ready', size }]);
  expect(items[0]?.storedSize).toBeLessThan(1.05 * DATA);
  const down = await runCli(['download', name, target], options);
  expect(down.code, down.stderr).toBe(0);

  const found = await stat(target);
  expect(found.size).toBe(size);
  expect(found.blocks * 512).toBeLessThan(1.05 * DATA);
  await using file = await open(target);
  for (const { offset, bytes } of pieces) {
    const there = Buffer.alloc(bytes.length);
    await file.read(there, 0, there.length, offset);
    expect(there.equals(bytes)).toBe(true);
  }
  await api.ok('DELETE', `/images/${items[0]?.id}`);
  await rm(source);
  await rm(target);
  return {
    uploadSeconds: up.seconds,
    downloadSeconds: down.seconds,
    readUp: up.readBytes,
    readDown: down.readBytes,
    cli: cli.bytes,
    serve: serve.bytes,
  };
}
