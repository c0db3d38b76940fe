import { ApiClient } from '../client/api-client.ts';
import { systemClock } from '../client/system-clock.ts';
import { HawserError } from '../core/errors.ts';
import { type FoundServer, findServer } from './find-server.ts';
import { HttpConnection } from './node/http-connection.ts';
import type { GlobalOptions } from './terminal.ts';

export interface Connected extends Disposable {
  readonly api: ApiClient;
  readonly connection: HttpConnection;
  readonly found: FoundServer;
}

/** The API of the server that was named or found. Nothing is asked of it yet. */
export async function connect(options: GlobalOptions): Promise<Connected> {
  const found = await findServer(options);
  if (found.token === undefined) {
    throw new HawserError('unauthenticated', `There is no token for ${found.server} (found by ${found.from}).`, {
      details: { next: `Sign in: hawser login ${found.server}, or give --token or HAWSER_TOKEN.` },
    });
  }
  const connection = new HttpConnection({ ca: found.ca });
  const { server, token } = found;
  const api = new ApiClient({ server, token, fetch: connection.fetch, clock: systemClock });
  return { api, connection, found, [Symbol.dispose]: () => connection[Symbol.dispose]() };
}

/** Runs `use` with a connection and closes it afterwards, so that the process can end. */
export async function connected<T>(options: GlobalOptions, use: (connected: Connected) => Promise<T>): Promise<T> {
  using open = await connect(options);
  return await use(open);
}
