import { homedir } from 'node:os';
import { resolve } from 'node:path';
import { usualDataDir } from '../config/load.ts';

/** The data folder of a `hawser serve` of this machine: what was named, else HAWSER_DATA_DIR, else the usual one. */
export function dataDirOf(
  named: string | undefined,
  env: Readonly<Record<string, string | undefined>> = process.env,
): string {
  const given = named || env.HAWSER_DATA_DIR;
  return given ? resolve(given) : usualDataDir({ uid: process.getuid?.(), env, home: homedir() });
}
