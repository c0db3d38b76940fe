import { createServer } from 'node:net';
import { ApiClient } from '../../client/api-client.ts';
import { systemClock } from '../../client/system-clock.ts';
import { toHawserError } from '../../core/errors.ts';
import { loadOwnConfig } from '../commands/serve.ts';
import { type FoundServer, findServer } from '../find-server.ts';
import { HttpConnection } from '../node/http-connection.ts';
import type { GlobalOptions } from '../terminal.ts';
import { formatSeconds } from '../text.ts';
import type { Finding } from './finding.ts';

const MOST_SKEW_MS = 60_000;

/** The server that commands would talk to; when there is none, whether one could start. */
export async function* serverChecks(options: GlobalOptions): AsyncGenerator<Finding> {
  let found: FoundServer;
  try {
    found = await findServer(options);
  } catch (error) {
    yield {
      about: 'server',
      verdict: 'warn',
      said: 'none is named and none runs here',
      next: 'Start one: hawser serve',
    };
    if (toHawserError(error).code !== 'unavailable') yield problem('server', error);
    yield* portChecks(options);
    return;
  }
  using connection = new HttpConnection({ ca: found.ca });
  const { server, token } = found;
  try {
    const answer = await connection.fetch(`${server}/healthz`, {
      method: 'GET',
      headers: {},
      signal: AbortSignal.timeout(5000),
    });
    yield { about: 'server', verdict: 'ok', said: `${server} answers ${answer.status} (found by ${found.from})` };
    yield clockCheck(answer.headers.get('date'));
  } catch (error) {
    const said = `${server} (found by ${found.from}) does not answer: ${error instanceof Error ? error.message : String(error)}`;
    yield { about: 'server', verdict: 'fail', said, next: 'Check that it runs and that the address is right.' };
    return;
  }
  if (token === undefined) {
    yield { about: 'token', verdict: 'fail', said: 'there is none for this server', next: `hawser login ${server}` };
    return;
  }
  try {
    const who = await new ApiClient({ server, token, fetch: connection.fetch, clock: systemClock }).me();
    yield { about: 'token', verdict: 'ok', said: `signed in as ${who.user} (${who.role}), server ${who.version}` };
  } catch (error) {
    yield problem('token', error);
  }
}

function problem(about: string, error: unknown): Finding {
  const { details, message } = toHawserError(error);
  const next = typeof details.next === 'string' ? { next: details.next } : {};
  return { about, verdict: 'fail', said: message, ...next };
}

function clockCheck(date: string | null): Finding {
  const theirs = date === null ? Number.NaN : Date.parse(date);
  if (Number.isNaN(theirs)) return { about: 'clock', verdict: 'warn', said: 'the server does not tell its time' };
  const skew = Math.abs(Date.now() - theirs);
  if (skew <= MOST_SKEW_MS) return { about: 'clock', verdict: 'ok', said: 'the same as the server’s' };
  const said = `differs from the server’s by ${formatSeconds(skew / 1000)}`;
  return { about: 'clock', verdict: 'warn', said, next: 'Tickets expire by time: set both clocks by NTP.' };
}

async function* portChecks(options: GlobalOptions): AsyncGenerator<Finding> {
  try {
    const { config } = await loadOwnConfig({ ...options });
    for (const [name, address] of [
      ['listen', config.listen],
      ['dataListen', config.dataListen],
    ] as const) {
      yield await portCheck(name, address);
    }
  } catch (error) {
    yield problem('config', error);
  }
}

async function portCheck(name: string, address: string): Promise<Finding> {
  const colon = address.lastIndexOf(':');
  const host = address.slice(0, colon).replace(/^\[|\]$/g, '');
  const server = createServer();
  try {
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen(Number(address.slice(colon + 1)), host, resolve);
    });
    return { about: name, verdict: 'ok', said: `${address} is free` };
  } catch (error) {
    const said = `${address} cannot be had: ${error instanceof Error ? error.message : String(error)}`;
    return {
      about: name,
      verdict: 'fail',
      said,
      next: 'Stop what holds it, or choose another (port 0 picks a free one).',
    };
  } finally {
    server.close();
  }
}
