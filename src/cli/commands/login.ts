import { chmod, mkdir, rename, rm, writeFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { createInterface } from 'node:readline/promises';
import { Writable } from 'node:stream';
import { text } from 'node:stream/consumers';
import { ApiClient } from '../../client/api-client.ts';
import { systemClock } from '../../client/system-clock.ts';
import { HawserError } from '../../core/errors.ts';
import { findServer, loginPath } from '../find-server.ts';
import { HttpConnection } from '../node/http-connection.ts';
import { type GlobalOptions, note, printJson } from '../terminal.ts';

/**
 * `hawser login [URL]`: asks for a token (or reads it from a pipe), tries it, and keeps server and
 * token in the login file, for this user only.
 */
export async function login(url: string | undefined, options: GlobalOptions): Promise<void> {
  const found = await findServer(url === undefined ? options : { ...options, server: url });
  const named = options.token ?? (process.env.HAWSER_TOKEN || undefined);
  const token = named ?? (url === undefined ? found.token : undefined) ?? (await askToken(found.server));
  using connection = new HttpConnection({ ca: found.ca });
  const api = new ApiClient({ server: found.server, token, fetch: connection.fetch, clock: systemClock });
  const who = await api.me();
  const path = loginPath();
  const kept = { server: found.server, token, ...(found.ca === undefined ? {} : { ca: found.ca }) };
  await mkdir(dirname(path), { recursive: true, mode: 0o700 });
  const temporary = `${path}.${process.pid}`;
  await writeFile(temporary, `${JSON.stringify(kept, null, 2)}\n`, { mode: 0o600 });
  await chmod(temporary, 0o600);
  await rename(temporary, path);
  if (options.json === true) printJson({ server: found.server, ...who });
  else note(`Signed in to ${found.server} as ${who.user} (${who.role}).`, options);
}

export async function logout(options: GlobalOptions): Promise<void> {
  await rm(loginPath(), { force: true });
  note('The server is forgotten. Its token still works; hawser token rm makes an end of one.', options);
}

async function askToken(server: string): Promise<string> {
  const given = process.stdin.isTTY ? await askHidden(`Token for ${server}: `) : await text(process.stdin);
  if (given.trim() !== '') return given.trim();
  throw new HawserError('unauthenticated', 'No token was given.', {
    details: { next: 'The admin token lies in run/admin-token in the data folder of the server.' },
  });
}

async function askHidden(question: string): Promise<string> {
  process.stderr.write(question);
  const silent = new Writable({ write: (_chunk, _encoding, done) => done() });
  using lines = createInterface({ input: process.stdin, output: silent, terminal: true });
  const answer = await lines.question('');
  process.stderr.write('\n');
  return answer;
}
