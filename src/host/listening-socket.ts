import { lstat, readFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { HawserError } from '../core/errors.ts';
import { removeFile } from './atomic-file.ts';

/** Makes way for a unix socket at `path`: one that a killed process left is removed, anything else is `in-use`. */
export async function freeSocketPath(path: string): Promise<void> {
  const there = await lstat(path).catch(() => undefined);
  if (there === undefined) return;
  if (!there.isSocket() || (await answers(path))) {
    throw new HawserError(
      'in-use',
      `There is ${there.isSocket() ? 'a socket that another program listens on' : 'something that is no socket'} at ${path}. Choose another path.`,
    );
  }
  await removeFile(path);
}

/** A PEM file that a setting names. */
export async function readPem(path: string, setting: string): Promise<string> {
  try {
    return await readFile(path, 'utf8');
  } catch (cause) {
    throw new HawserError('bad-request', `The file of ${setting} cannot be read. Give a PEM file.`, { cause });
  }
}

function answers(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(path);
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', () => resolve(false));
  });
}
