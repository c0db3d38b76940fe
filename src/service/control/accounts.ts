import { createHash, randomBytes, scrypt, timingSafeEqual } from 'node:crypto';
import { HawserError } from '../../core/errors.ts';
import type { Actor } from '../../core/nouns.ts';
import type { Context } from './context.ts';
import type { ControlDb } from './ports.ts';
import type { AccountUseCases, Credential, SignedIn, SignIn } from './use-cases.ts';

const LOGIN_SECONDS = 30 * 24 * 3600;
const ADMIN: Actor = { user: 'admin', role: 'admin' };
const ADMIN_TOKEN_HASH = 'admin-token-sha256';

/**
 * Makes `token` the admin token of this place (a data folder), the user `admin` with it; only its SHA-256 is
 * kept. Each of several controls has its own. Repeatable.
 */
export async function ensureAdminToken(db: ControlDb, token: string, place = 'here'): Promise<void> {
  await db.accounts.saveUser(ADMIN.user, ADMIN.role);
  await db.accounts.saveSetting(`${ADMIN_TOKEN_HASH}:${place}`, hashSecret(token));
}

export function createAccounts(context: Context): AccountUseCases {
  const { accounts, audit } = context.db;
  const actorOf = (credential: Credential) => whoHolds(context.db, credential);
  return {
    signIn: (request) => signIn(context, request),
    signOut: (loginSecret) => accounts.removeLogin(hashSecret(loginSecret)),
    actorOf: async (credential) => {
      const actor = await actorOf(credential);
      if (actor !== undefined) return actor;
      throw new HawserError(
        'unauthenticated',
        credential.kind === 'login'
          ? 'The sign-in has ended; sign in again.'
          : 'The token is not known here, or it has ended; take another one.',
      );
    },
    hasPassword: async (actor) => ((await accounts.user(actor.user))?.passwordHash ?? null) !== null,
    setPassword: async (actor, { password, current }) => {
      const user = await accounts.user(actor.user);
      if (user === undefined) throw new HawserError('not-found', 'There is no such user.');
      if (user.passwordHash !== null && !(await matches(current ?? '', user.passwordHash))) {
        throw new HawserError('forbidden', 'The current password is not right; the password stays as it was.');
      }
      await accounts.setPasswordHash(actor.user, await hashPassword(password));
      await audit.append({ actor: actor.user, action: 'password.set', subject: actor.user });
    },
    tokens: (actor) => accounts.tokens(actor.user),
    createToken: async (actor, request) => {
      const secret = `hws_${context.randomSecret()}`;
      const token = await accounts.insertToken({
        id: context.randomId(),
        user: actor.user,
        name: request.name,
        hash: hashSecret(secret),
        expiresInSeconds: request.expiresInSeconds ?? null,
      });
      await audit.append({
        actor: actor.user,
        action: 'token.create',
        subject: token.id,
        detail: { name: token.name },
      });
      return { ...token, secret };
    },
    removeToken: async (actor, id) => {
      if (!(await accounts.removeToken(actor.user, id))) throw new HawserError('not-found', 'There is no such token.');
      await audit.append({ actor: actor.user, action: 'token.remove', subject: id });
    },
  };
}

async function whoHolds(db: ControlDb, credential: Credential): Promise<Actor | undefined> {
  const hash = hashSecret(credential.secret);
  if (credential.kind === 'login') return db.accounts.actorOfLogin(hash, LOGIN_SECONDS);
  if (credential.secret.startsWith('hws_')) return db.accounts.actorOfToken(hash);
  const admins = await db.accounts.settingsBelow(ADMIN_TOKEN_HASH);
  return admins.some((admin) => same(hash, admin)) ? ADMIN : undefined;
}

async function signIn(context: Context, request: SignIn): Promise<SignedIn> {
  const { accounts, audit } = context.db;
  const actor =
    request.kind === 'token'
      ? await whoHolds(context.db, { kind: 'bearer', secret: request.token })
      : await byPassword(context.db, request.user, request.password);
  if (actor === undefined) {
    throw new HawserError(
      'unauthenticated',
      request.kind === 'token'
        ? 'The token is not known here, or it has ended. The admin token lies in run/admin-token of the data folder.'
        : 'User and password do not belong together.',
    );
  }
  const loginSecret = context.randomSecret();
  const login = {
    id: context.randomId(),
    user: actor.user,
    hash: hashSecret(loginSecret),
    lifetimeSeconds: LOGIN_SECONDS,
  };
  const expiresAt = await accounts.insertLogin(login);
  await audit.append({ actor: actor.user, action: 'login', subject: login.id, detail: { by: request.kind } });
  return { actor, loginSecret, expiresAt };
}

/** Takes as long for a user who does not exist, or has no password, as for one who does. */
async function byPassword(db: ControlDb, name: string, password: string): Promise<Actor | undefined> {
  const user = await db.accounts.user(name);
  const good = await matches(password, user?.passwordHash ?? NOBODY);
  return good && user?.passwordHash != null ? user.actor : undefined;
}

function hashSecret(secret: string): string {
  return createHash('sha256').update(secret).digest('hex');
}

function same(a: string, b: string): boolean {
  return a.length === b.length && timingSafeEqual(Buffer.from(a), Buffer.from(b));
}

/** 32 MiB and about 80 ms for each guess. */
const COST = { N: 2 ** 15, r: 8, p: 1 } as const;
const NOBODY = `scrypt:${COST.N}:${COST.r}:${COST.p}:${Buffer.alloc(16).toString('base64url')}:${Buffer.alloc(32).toString('base64url')}`;

async function hashPassword(password: string): Promise<string> {
  const salt = randomBytes(16);
  const key = await derive(password, salt, COST);
  return `scrypt:${COST.N}:${COST.r}:${COST.p}:${salt.toString('base64url')}:${key.toString('base64url')}`;
}

async function matches(password: string, stored: string): Promise<boolean> {
  const [, N, r, p, salt = '', key = ''] = stored.split(':');
  const found = await derive(password, Buffer.from(salt, 'base64url'), { N: Number(N), r: Number(r), p: Number(p) });
  const wanted = Buffer.from(key, 'base64url');
  return found.length === wanted.length && timingSafeEqual(found, wanted);
}

/** Guesses wait for each other: each takes a thread of the few that disks are written with as well. */
const MOST_WAITING = 20;
const guesses = { waiting: 0, last: Promise.resolve() as Promise<unknown> };

async function derive(...args: Parameters<typeof deriveNow>): Promise<Buffer> {
  if (guesses.waiting >= MOST_WAITING) {
    throw new HawserError('too-many', 'Many sign in at this moment. Try again in a few seconds.', {
      details: { retryAfterSeconds: 5 },
    });
  }
  guesses.waiting++;
  const mine = guesses.last.then(() => deriveNow(...args)).finally(() => guesses.waiting--);
  guesses.last = mine.catch(() => {}); // who waits for it is told
  return await mine;
}

/** The same text may be typed as different code points; NFKC makes them one. */
function deriveNow(
  password: string,
  salt: Buffer,
  cost: { readonly N: number; readonly r: number; readonly p: number },
): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    scrypt(password.normalize('NFKC'), salt, 32, { ...cost, maxmem: 256 * cost.N * cost.r }, (error, key) =>
      error === null ? resolve(key) : reject(error),
    );
  });
}
