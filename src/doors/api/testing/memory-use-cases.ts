import { HawserError } from '../../../core/errors.ts';
import type { Actor } from '../../../core/nouns.ts';
import type {
  AccountUseCases,
  BeginUpload,
  Change,
  Credential,
  HostUseCases,
  ImageUseCases,
  UploadUseCases,
  UseCases,
} from '../../../service/control/use-cases.ts';
import { apiToken, at, host, ids, image, joinToken, store, task, upload } from './sample-nouns.ts';

export const ADMIN_TOKEN = 'admin-token-of-the-test';
export const USER_TOKEN = 'user-token-of-the-test';
export const PASSWORD = 'correct horse battery';

export interface MemoryUseCases extends UseCases {
  /** Tells every subscriber. */
  publish(change: Change): void;
  readonly subscribers: () => number;
  /** What was asked, in order: `images.list {...}`. */
  readonly asked: { readonly what: string; readonly with: unknown }[];
  /** From now on this token is worth nothing. */
  revoke(secret: string): void;
}

type Note = (what: string, rest?: unknown) => void;

/** Control as far as a door can tell, for tests of doors: accounts with two tokens, one of each noun. */
export function memoryUseCases(): MemoryUseCases {
  const asked: { what: string; with: unknown }[] = [];
  const listeners = new Set<(change: Change) => void>();
  const revoked = new Set<string>();
  const note: Note = (what, rest = null) => void asked.push({ what, with: rest });
  return {
    asked,
    subscribers: () => listeners.size,
    revoke: (secret) => void revoked.add(secret),
    publish: (change) => {
      for (const listener of listeners) listener(change);
    },
    images: imageUseCases(note),
    copies: {
      create: async (_actor, request) => {
        note('copies.create', request);
        return image;
      },
      add: async (_actor, id, storeId) => {
        note('copies.add', { id: found(id, ids.image, id), storeId });
        return { ...task, kind: 'replicate' };
      },
      fetch: async (_actor, id) => found(id, ids.image, image),
      cleanup: async (_actor, id, copyIds) => {
        note('copies.cleanup', { id: found(id, ids.image, id), copyIds });
        return image;
      },
    },
    uploads: uploadUseCases(note),
    tasks: {
      list: async (_actor, query) => {
        note('tasks.list', query);
        return { items: [task], next: null };
      },
      get: async (_actor, id) => found(id, ids.task, task),
      events: async () => [{ at, from: null, to: 'INITIATED', cause: null, status: '' }],
      pause: async () => ({ ...task, state: 'PAUSED', cause: 'user' }),
      resume: async () => task,
      cancel: async () => ({ ...task, state: 'CANCELLED' }),
    },
    stores: {
      list: async () => [store],
      change: async (actor, id, change) => {
        if (actor.role !== 'admin') throw new HawserError('forbidden', 'Only an administrator changes a Store.');
        return { ...found(id, ids.store, store), enabled: change.enabled ?? store.enabled };
      },
    },
    hosts: hostUseCases(note),
    accounts: accountUseCases(note, revoked),
    changes: {
      subscribe: (_actor, listener) => {
        listeners.add(listener);
        return () => void listeners.delete(listener);
      },
    },
  };
}

function hostUseCases(note: Note): HostUseCases {
  const mustBeAdmin = (actor: Actor) => {
    if (actor.role !== 'admin') throw new HawserError('forbidden', 'Only an administrator does that.');
  };
  return {
    list: async () => [host],
    get: async (_actor, id) => found(id, ids.host, host),
    change: async (actor, id, change) => {
      mustBeAdmin(actor);
      note('hosts.change', change);
      return { ...found(id, ids.host, host), enabled: change.enabled ?? host.enabled };
    },
    remove: async (actor, id, options) => {
      mustBeAdmin(actor);
      note('hosts.remove', { id, ...options });
    },
    joinTokens: async () => [joinToken],
    createJoinToken: async (_actor, request) => ({
      ...joinToken,
      name: request.name,
      secret: 'hj1.secret',
      warning: null,
    }),
    removeJoinToken: async (_actor, id) => note('hosts.removeJoinToken', id),
  };
}

function imageUseCases(note: Note): ImageUseCases {
  return {
    list: async (actor, query) => {
      note('images.list', { actor, query });
      return { items: [image], next: 'more' };
    },
    get: async (_actor, id) => found(id, ids.image, image),
    change: async (_actor, id, change) => ({ ...found(id, ids.image, image), name: change.name ?? image.name }),
    remove: async (_actor, id) => note('images.remove', id),
    source: async (_actor, id) =>
      found(id, ids.image, {
        image,
        hostId: ids.host,
        storeId: ids.store,
        key: 'copies/secret-key',
        fingerprint: null,
      }),
    access: async () => ({
      url: 'http://127.0.0.1:7802/data/v1/copies/x',
      token: 'ticket',
      ca: null,
      host: null,
      expiresAt: at,
    }),
    verify: async () => task,
    digest: async (_actor, _id, algorithm) => {
      note('images.digest', algorithm);
      return task;
    },
  };
}

function uploadUseCases(note: Note): UploadUseCases {
  const byKey = new Map<string, BeginUpload>();
  return {
    begin: async (_actor, request) => {
      const { idempotencyKey: key, ...rest } = request;
      if (key !== undefined) {
        const before = byKey.get(key);
        if (before !== undefined && JSON.stringify(before) !== JSON.stringify(rest)) {
          throw new HawserError('conflict', 'This Idempotency-Key was used for another request. Use a new one.');
        }
        byKey.set(key, rest);
      }
      note('uploads.begin', request);
      return upload;
    },
    list: async (_actor, query) => {
      note('uploads.list', query);
      return { items: [upload], next: null };
    },
    get: async (_actor, id) => found(id, ids.upload, upload),
    target: async (_actor, id) => found(id, ids.upload, { uploadId: id, hostId: ids.host, generation: 1 }),
    access: async () => ({
      url: 'http://127.0.0.1:7802/data/v1/uploads/x',
      token: 'ticket',
      ca: null,
      host: null,
      expiresAt: at,
    }),
    finish: async (_actor, id, request) => {
      note('uploads.finish', request);
      return { upload: found(id, ids.upload, upload), image };
    },
    cancel: async (_actor, id) => note('uploads.cancel', id),
  };
}

function accountUseCases(note: Note, revoked: ReadonlySet<string>): AccountUseCases {
  const logins = new Map<string, Actor>();
  const actors: Readonly<Record<string, Actor>> = {
    [ADMIN_TOKEN]: { user: 'admin', role: 'admin' },
    [USER_TOKEN]: { user: 'anna', role: 'user' },
  };
  const nobody = () => new HawserError('unauthenticated', 'The token or password is not right.');
  const actorFor = ({ kind, secret }: Credential): Actor => {
    const actor = revoked.has(secret) ? undefined : kind === 'bearer' ? actors[secret] : logins.get(secret);
    if (actor === undefined) throw nobody();
    return actor;
  };
  return {
    signIn: async (request) => {
      const actor =
        request.kind === 'token'
          ? actors[request.token]
          : request.user === 'anna' && request.password === PASSWORD
            ? actors[USER_TOKEN]
            : undefined;
      if (actor === undefined) throw nobody();
      const loginSecret = `login-${logins.size + 1}`;
      logins.set(loginSecret, actor);
      return { actor, loginSecret, expiresAt: new Date(Date.now() + 3_600_000) };
    },
    signOut: async (secret) => void logins.delete(secret),
    actorOf: async (credential) => actorFor(credential),
    hasPassword: async () => true,
    setPassword: async (_actor, request) => {
      note('accounts.setPassword', request);
      if (request.current !== PASSWORD) throw new HawserError('forbidden', 'The current password is not right.');
    },
    tokens: async () => [apiToken],
    createToken: async (_actor, { name }) => ({ ...apiToken, name, secret: 'shown-once' }),
    removeToken: async (_actor, id) => note('accounts.removeToken', id),
  };
}

function found<T>(id: string, known: string, thing: T): T {
  if (id === known) return thing;
  throw new HawserError('not-found', `There is no such thing with id ${id}.`);
}
