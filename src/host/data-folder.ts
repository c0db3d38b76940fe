import { type FileHandle, mkdir, open } from 'node:fs/promises';
import { hostname } from 'node:os';
import { join, resolve } from 'node:path';
import { z } from 'zod';
import { HawserError } from '../core/errors.ts';
import { libc } from '../native/libc.ts';
import { readIfThere, removeFile, writeFileAtomic } from './atomic-file.ts';

/** Who this host is, for good; made at the first start. */
const identitySchema = z.object({
  hostId: z.uuid(),
  name: z.string(),
  /** Store name to Store id. */
  stores: z.record(z.string(), z.uuid()),
});
export type HostIdentity = z.infer<typeof identitySchema>;

export interface DataFolder extends AsyncDisposable {
  readonly path: string;
  /** `parts` below the folder. */
  at(...parts: readonly string[]): string;
  /** The identity, with an id for each of `storeNames`; `name` replaces the kept one. */
  identity(storeNames: readonly string[], randomId: () => string, name?: string): Promise<HostIdentity>;
  /** The admin token: what is in `run/admin-token`, else a new one, written there (0600). */
  adminToken(randomSecret: () => string): Promise<string>;
  /** `run/addresses.json`: tells others that we are ready, and where. */
  announce(addresses: Readonly<Record<string, string>>): Promise<void>;
}

/** Opens the data folder for one process alone: a second one is refused while the first lives. */
export async function openDataFolder(dataDir: string): Promise<DataFolder> {
  const path = resolve(dataDir);
  const at = (...parts: readonly string[]) => join(path, ...parts);
  for (const folder of [path, at('run'), at('agent'), at('keys')]) await makeFolder(folder);
  const lock = await takeLock(at('lock'), path);
  await removeFile(at('run', 'addresses.json')); // of one that was killed: nobody is there
  return {
    path,
    at,
    identity: (storeNames, randomId, name) => identity(at('agent', 'host.json'), { storeNames, name }, randomId),
    adminToken: (randomSecret) => adminToken(at('run', 'admin-token'), randomSecret),
    announce: (addresses) => writeFileAtomic(at('run', 'addresses.json'), `${JSON.stringify(addresses, null, 2)}\n`),
    async [Symbol.asyncDispose]() {
      await removeFile(at('run', 'addresses.json'));
      await lock.close();
    },
  };
}

async function makeFolder(path: string): Promise<void> {
  try {
    await mkdir(path, { recursive: true, mode: 0o700 });
  } catch (cause) {
    throw new HawserError(
      'store-failed',
      'The data folder cannot be made. Choose one that you may write, with HAWSER_DATA_DIR or --data-dir.',
      { cause },
    );
  }
}

async function takeLock(path: string, folder: string): Promise<FileHandle> {
  const file = await open(path, 'a+', 0o600);
  try {
    libc()?.lock(file.fd);
  } catch (cause) {
    const holder = (await readIfThere(path))?.toString().trim();
    await file.close();
    throw new HawserError(
      'in-use',
      `The data folder ${folder} is in use by another Hawser${holder ? ` (process ${holder})` : ''}. Stop that one, or choose another folder with HAWSER_DATA_DIR.`,
      { cause },
    );
  }
  await file.truncate(0);
  await file.write(`${process.pid}\n`, 0);
  return file;
}

async function identity(
  path: string,
  { storeNames, name }: { readonly storeNames: readonly string[]; readonly name: string | undefined },
  randomId: () => string,
): Promise<HostIdentity> {
  const there = await readIfThere(path);
  const known =
    there === undefined ? { hostId: randomId(), name: hostname(), stores: {} } : parseIdentity(there.toString());
  const stores = { ...known.stores };
  for (const name of storeNames) stores[name] ??= randomId();
  const complete = { ...known, ...(name === undefined || name === '' ? {} : { name }), stores };
  await writeFileAtomic(path, JSON.stringify(complete, null, 2));
  return complete;
}

function parseIdentity(text: string): HostIdentity {
  try {
    return identitySchema.parse(JSON.parse(text));
  } catch (cause) {
    throw new HawserError(
      'corrupt',
      'The file agent/host.json in the data folder cannot be read. It says which host this is; restore it from a backup.',
      { cause },
    );
  }
}

async function adminToken(path: string, randomSecret: () => string): Promise<string> {
  const there = (await readIfThere(path))?.toString().trim();
  if (there) return there;
  const made = randomSecret();
  await writeFileAtomic(path, `${made}\n`);
  return made;
}
