import type { FastifyInstance, FastifyRequest } from 'fastify';
import { HawserError } from '../../core/errors.ts';
import type { Actor } from '../../core/nouns.ts';
import type { AccountUseCases, Credential } from '../../service/control/use-cases.ts';
import { requireSameOrigin } from './same-origin.ts';

export const LOGIN_COOKIE = 'hawser_login';

export interface Authentication {
  readonly accounts: AccountUseCases;
  /** Origin that people use when a proxy rewrites Host. */
  readonly publicOrigin: string | undefined;
}

/** Every route of `app` from here on wants a signed-in actor: a bearer token, or the login cookie from our own page. */
export function requireActor(app: FastifyInstance, { accounts, publicOrigin }: Authentication): void {
  app.decorateRequest('actor', null);
  app.addHook('onRequest', async (request) => {
    request.setDecorator<Actor>('actor', await authenticate(request, { accounts, publicOrigin }));
  });
}

/** Who asks, for doors of other protocols: as `requireActor` finds it. */
export async function authenticate(
  request: FastifyRequest,
  { accounts, publicOrigin }: Authentication,
): Promise<Actor> {
  const credential = credentialOf(request);
  const actor = await accounts.actorOf(credential);
  if (credential.kind === 'login' && changesSomething(request)) requireSameOrigin(request, publicOrigin);
  return actor;
}

/** Who asks. Throws `unauthenticated` in a route that `requireActor` does not guard. */
export function actorOf(request: FastifyRequest): Actor {
  const actor = request.getDecorator<Actor | null>('actor');
  if (actor === null) throw new HawserError('unauthenticated', 'This route needs somebody signed in.');
  return actor;
}

/** What the request says of who it is. Throws `unauthenticated` when it says nothing. */
export function credentialOf(request: FastifyRequest): Credential {
  const header = request.headers.authorization;
  if (header !== undefined) {
    const secret = /^Bearer +([!-~]{1,500})$/i.exec(header)?.[1];
    if (secret === undefined) {
      throw new HawserError('unauthenticated', 'The authorization header must be "Bearer TOKEN"; found another form.');
    }
    return { kind: 'bearer', secret };
  }
  const secret = loginSecretOf(request);
  if (secret === undefined) {
    throw new HawserError(
      'unauthenticated',
      'Nobody is signed in: there is neither a bearer token nor a login cookie.',
    );
  }
  return { kind: 'login', secret };
}

export function loginSecretOf(request: FastifyRequest): string | undefined {
  const secret = request.cookies[LOGIN_COOKIE];
  return secret === undefined || secret === '' ? undefined : secret;
}

/** A WebSocket is a GET that no page of another origin may open with our cookie. */
function changesSomething(request: FastifyRequest): boolean {
  return !['GET', 'HEAD', 'OPTIONS'].includes(request.method) || request.headers.upgrade !== undefined;
}
