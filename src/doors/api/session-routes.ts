import type { FastifyInstance, FastifyRequest } from 'fastify';
import type { z } from 'zod';
import { loginRequest, me, passwordRequest, tokenAnswer, tokenList, tokenRequest } from '../../contract/api/session.ts';
import type { Actor } from '../../core/nouns.ts';
import type { SignIn } from '../../service/control/use-cases.ts';
import { type ApiScope, idParams, nothing, problems, typed } from './api-scope.ts';
import { actorOf, LOGIN_COOKIE, loginSecretOf } from './authenticate.ts';
import type { LoginLimit } from './login-limit.ts';
import { requireSameOrigin } from './same-origin.ts';
import { tokenResourceOf } from './token-resource.ts';

export interface LoginSettings {
  readonly limit: LoginLimit;
  readonly publicOrigin: string | undefined;
}

/** Signing in and out: the only routes of the API that nobody need be signed in for. */
export function loginRoutes(app: FastifyInstance, scope: ApiScope, { limit, publicOrigin }: LoginSettings): void {
  typed(app).post(
    '/session',
    {
      schema: {
        operationId: 'signIn',
        tags: ['session'],
        summary: 'Sign in with a token, or with user and password',
        description: `Answers who you are and sets the cookie \`${LOGIN_COOKIE}\`. Programs need not sign in: they send their token as a bearer.`,
        security: [],
        body: loginRequest,
        response: { 200: me, ...problems },
      },
    },
    async (request, reply) => {
      if (request.headers.origin !== undefined) requireSameOrigin(request, publicOrigin);
      limit.begin(request.ip);
      const { actor, loginSecret, expiresAt } = await scope.useCases.accounts.signIn(signInOf(request.body));
      limit.succeeded(request.ip);
      reply.setCookie(LOGIN_COOKIE, loginSecret, { ...cookieFor(request), expires: expiresAt });
      return meOf(scope, actor);
    },
  );

  typed(app).delete(
    '/session',
    {
      schema: {
        operationId: 'signOut',
        tags: ['session'],
        summary: 'Sign out: the cookie is worth nothing any more',
        security: [],
        response: { 204: nothing, ...problems },
      },
    },
    async (request, reply) => {
      const secret = loginSecretOf(request);
      if (secret !== undefined) {
        requireSameOrigin(request, publicOrigin);
        await scope.useCases.accounts.signOut(secret);
      }
      return reply.clearCookie(LOGIN_COOKIE, cookieFor(request)).code(204).send(null);
    },
  );
}

/** `limit` is that of sign-ins: a login that was left open is no way to try passwords. */
export function accountRoutes(app: FastifyInstance, scope: ApiScope, limit: LoginLimit): void {
  const { accounts } = scope.useCases;
  typed(app).get(
    '/me',
    { schema: { operationId: 'whoAmI', tags: ['session'], summary: 'Who am I', response: { 200: me, ...problems } } },
    async (request) => meOf(scope, actorOf(request)),
  );
  typed(app).put(
    '/me/password',
    {
      schema: {
        operationId: 'setPassword',
        tags: ['session'],
        summary: 'Set or change the password',
        description:
          '`current` is needed when there is one already. Wrong ones count as sign-ins that failed: after ten in a minute 429.',
        body: passwordRequest,
        response: { 204: nothing, ...problems },
      },
    },
    async (request, reply) => {
      limit.begin(request.ip);
      await accounts.setPassword(actorOf(request), request.body);
      limit.succeeded(request.ip);
      return reply.code(204).send(null);
    },
  );
}

export function tokenRoutes(app: FastifyInstance, scope: ApiScope): void {
  const { accounts } = scope.useCases;
  typed(app).get(
    '/tokens',
    {
      schema: {
        operationId: 'listTokens',
        tags: ['tokens'],
        summary: 'My API tokens, without their secrets',
        response: { 200: tokenList, ...problems },
      },
    },
    async (request) => ({ items: (await accounts.tokens(actorOf(request))).map(tokenResourceOf) }),
  );
  typed(app).post(
    '/tokens',
    {
      schema: {
        operationId: 'createToken',
        tags: ['tokens'],
        summary: 'Make an API token; it is shown this once',
        body: tokenRequest,
        response: { 201: tokenAnswer, ...problems },
      },
    },
    async (request, reply) => {
      const token = await accounts.createToken(actorOf(request), request.body);
      reply.code(201).header('cache-control', 'no-store');
      return reply.send({ ...tokenResourceOf(token), token: token.secret });
    },
  );
  typed(app).delete(
    '/tokens/:id',
    {
      schema: {
        operationId: 'removeToken',
        tags: ['tokens'],
        summary: 'Revoke a token',
        params: idParams,
        response: { 204: nothing, ...problems },
      },
    },
    async (request, reply) => {
      await accounts.removeToken(actorOf(request), request.params.id);
      return reply.code(204).send(null);
    },
  );
}

function signInOf(body: z.output<typeof loginRequest>): SignIn {
  return 'token' in body
    ? { kind: 'token', token: body.token }
    : { kind: 'password', user: body.user, password: body.password };
}

async function meOf(scope: ApiScope, actor: Actor): Promise<z.output<typeof me>> {
  const hasPassword = await scope.useCases.accounts.hasPassword(actor);
  return { user: actor.user, role: actor.role, hasPassword, version: scope.version };
}

/** A proxy in front may end TLS: then only the page's own Origin tells. */
function cookieFor(request: FastifyRequest) {
  const secure = request.protocol === 'https' || request.headers.origin?.startsWith('https:') === true;
  return { path: '/', httpOnly: true, sameSite: 'strict', secure } as const;
}
