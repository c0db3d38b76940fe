import { createHash } from 'node:crypto';
import { fstat } from 'node:fs';
import { isAbsolute, relative, resolve } from 'node:path';
import { HawserError } from '../core/errors.ts';
import { openImageFile } from './image-files.ts';

/** A file or block device that a ticket names, held open so that it stays the one that was checked. */
export interface TicketFile extends AsyncDisposable {
  /** Names exactly this file, whatever its path names by now. */
  readonly path: string;
  readonly kind: 'file' | 'block';
  /** Changes whenever somebody writes; undefined for a block device, which does not tell. */
  fingerprint(): Promise<string | undefined>;
}

/** Throws `forbidden` for what does not lie below one of `roots`, links resolved, `not-found`. */
export async function openTicketFile(path: string, roots: readonly string[]): Promise<TicketFile> {
  const file = await openImageFile(path, roots);
  return {
    path: `/proc/self/fd/${file.fd}`,
    kind: file.kind,
    fingerprint: async () => (file.kind === 'file' ? await fingerprintOf(file.fd) : undefined),
    [Symbol.asyncDispose]: () => file[Symbol.asyncDispose](),
  };
}

/** Refuses by its name alone what can never be opened. Throws `forbidden`. */
export function checkTicketPath(path: string, roots: readonly string[]): void {
  const wanted = resolve(path);
  const below = roots.some((root) => {
    const way = relative(resolve(root), wanted);
    return way === '' || (!isAbsolute(way) && way !== '..' && !way.startsWith('../'));
  });
  if (below) return;
  throw new HawserError(
    'forbidden',
    'It lies outside of the folders that tickets may open. Move it there, or add its folder to imageio.roots.',
  );
}

function fingerprintOf(fd: number): Promise<string> {
  return new Promise((done, fail) => {
    fstat(fd, { bigint: true }, (error, stat) => {
      if (error !== null) return fail(error);
      const facts = `${stat.dev} ${stat.ino} ${stat.size} ${stat.mtimeNs} ${stat.ctimeNs}`;
      done(createHash('sha256').update(facts).digest('hex').slice(0, 32));
    });
  });
}
