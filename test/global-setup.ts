import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestProject } from 'vitest/node';
import { startPostgres } from '../src/host/postgres.ts';

let dataDir: string | undefined;

/** Before all tests: makes what data-folder.ts copies. */
export async function setup(project: TestProject): Promise<void> {
  dataDir = await mkdtemp(join(tmpdir(), 'hawser-unused-'));
  const postgres = await startPostgres({ dataDir });
  await postgres.stop();
  project.provide('unusedPostgres', join(dataDir, 'pg'));
}

export async function teardown(): Promise<void> {
  if (dataDir !== undefined) await rm(dataDir, { recursive: true, force: true });
}
