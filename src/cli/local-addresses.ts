import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { HawserError } from '../core/errors.ts';

const addressesFile = z.record(z.string(), z.string());

/** Where the server of a data folder listens, `run/addresses.json`; undefined when none runs with it. */
export async function readAddresses(folder: string): Promise<Readonly<Record<string, string>> | undefined> {
  const path = join(folder, 'run', 'addresses.json');
  const text = await readFile(path, 'utf8').catch(() => undefined);
  if (text === undefined) return undefined;
  try {
    return addressesFile.parse(JSON.parse(text));
  } catch (cause) {
    throw new HawserError('bad-request', `The file ${path} cannot be understood. Start the server again.`, { cause });
  }
}
