import { createHash } from 'node:crypto';
import { fstat } from 'node:fs';
import { isAbsolute, relative, resolve } from 'node:path';
import { HawserError } from '../core/errors.ts';

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

/** Changes whenever somebody writes to the open file. */
export function fingerprintOf(fd: number): Promise<string> {
  return new Promise((done, fail) => {
    fstat(fd, { bigint: true }, (error, stat) => {
      if (error !== null) return fail(error);
      const facts = `${stat.dev} ${stat.ino} ${stat.size} ${stat.mtimeNs} ${stat.ctimeNs}`;
      done(createHash('sha256').update(facts).digest('hex').slice(0, 32));
    });
  });
}
