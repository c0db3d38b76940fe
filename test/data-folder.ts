import { execFile } from 'node:child_process';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { inject } from 'vitest';

declare module 'vitest' {
  export interface ProvidedContext {
    /** The `pg` of a data folder whose PostgreSQL has never been used. */
    readonly unusedPostgres: string;
  }
}

/**
 * Makes a data folder of control's (or a test's own PostgreSQL) at `path`. Its PostgreSQL is a copy of one that was made before all tests:
 * making one takes seconds, and what a first start does is tested in src/host/postgres.test.ts.
 */
export async function makeDataFolder(path: string): Promise<string> {
  await mkdir(path, { recursive: true, mode: 0o700 });
  // It belongs to whom PostgreSQL runs as.
  await promisify(execFile)('cp', ['-a', '--reflink=auto', inject('unusedPostgres'), join(path, 'pg')]);
  return path;
}
