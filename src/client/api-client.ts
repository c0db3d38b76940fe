import type { z } from 'zod';
import { API_PREFIX, type Page } from '../contract/api/common.ts';
import {
  type HostResource,
  type hostChange,
  hostList,
  hostResource,
  type JoinTokenResource,
  joinTokenCreated,
  joinTokenList,
  type joinTokenRequest,
} from '../contract/api/host.ts';
import {
  type ExtentList,
  extentList,
  type ImageCreate,
  type ImageResource,
  type imageChange,
  imagePage,
  imageResource,
} from '../contract/api/image.ts';
import { type loginRequest, type Me, me, tokenAnswer, tokenList } from '../contract/api/session.ts';
import { type StoreResource, type storeChange, storeList, storeResource } from '../contract/api/store.ts';
import { type TaskResource, taskEvents, taskPage, taskResource } from '../contract/api/task.ts';
import {
  type DataAccess,
  dataAccess,
  type FinishAnswer,
  finishAnswer,
  type Receipt,
  type ReceivedRanges,
  receipt,
  receivedRanges,
  type UploadRequest,
  type UploadResource,
  uploadPage,
  uploadResource,
} from '../contract/api/upload.ts';
import { backoffMs } from '../core/backoff.ts';
import type { DigestAlgorithm } from '../core/digest.ts';
import { HawserError, toHawserError } from '../core/errors.ts';
import type { Range } from '../core/range.ts';
import type { Clock, Fetch, FetchAnswer } from './ports.ts';
import { errorOfAnswer, errorOfConnection } from './problem.ts';

export interface ApiClientOptions {
  /** Where the server is, without a path: `http://127.0.0.1:7800`; empty in a page, for its own origin. */
  readonly server: string;
  /** An API token, the admin token; without it the session cookie counts. */
  readonly token?: string;
  readonly fetch: Fetch;
  readonly clock: Clock;
  /** How often a call that may be repeated is repeated when the server was not there. Default 2. */
  readonly repeats?: number;
}

/** Which page of a list. */
export interface ListQuery {
  readonly limit?: number;
  readonly cursor?: string;
}
export type ImageListQuery = ListQuery & { readonly name?: string; readonly state?: string; readonly search?: string };
export type UploadListQuery = ListQuery & {
  readonly name?: string;
  readonly state?: string;
  readonly fingerprint?: string;
};
export type TaskListQuery = ListQuery & {
  readonly state?: string;
  readonly kind?: string;
  readonly imageId?: string;
  readonly search?: string;
};
export type Login = z.input<typeof loginRequest>;
export type TokenAnswer = z.infer<typeof tokenAnswer>;
export type TokenItem = z.infer<typeof tokenList>['items'][number];
export type HostChange = z.input<typeof hostChange>;
export type StoreChange = z.input<typeof storeChange>;
export type ImageChange = z.input<typeof imageChange>;
export type JoinTokenCreated = z.infer<typeof joinTokenCreated>;
export type TaskEventItem = z.infer<typeof taskEvents>['items'][number];

interface Call<T extends z.ZodType | null> {
  readonly method: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';
  readonly path: string;
  readonly query?: Readonly<Record<string, string | number | undefined>>;
  readonly body?: unknown;
  readonly headers?: Readonly<Record<string, string>>;
  readonly answer: T;
  /** Not safe to repeat when it is not known whether it arrived. */
  readonly once?: boolean;
  readonly signal?: AbortSignal | undefined;
}

/**
 * The native API, typed. Every call throws HawserErrors: what the server said (with `next` and
 * `requestId` in details), or `unavailable` when nobody answered. Calls that may be repeated are,
 * a few times, when the server was not reachable.
 */
export class ApiClient {
  readonly server: string;
  readonly #options: ApiClientOptions;

  constructor(options: ApiClientOptions) {
    this.server = options.server.replace(/\/+$/, '');
    this.#options = options;
  }

  /** The headers that say who asks, for transfers that do not go through this class. */
  get authorization(): Readonly<Record<string, string>> {
    return this.#options.token === undefined ? {} : { authorization: `Bearer ${this.#options.token}` };
  }

  /** The absolute address of an API path, `/uploads/…/data`. */
  urlOf(path: string): string {
    return `${this.server}${API_PREFIX}${path}`;
  }

  signIn(login: Login, signal?: AbortSignal): Promise<Me> {
    return this.#call({ method: 'POST', path: '/session', body: login, answer: me, signal });
  }
  signOut(): Promise<void> {
    return this.#call({ method: 'DELETE', path: '/session', answer: null });
  }
  me(signal?: AbortSignal): Promise<Me> {
    return this.#call({ method: 'GET', path: '/me', answer: me, signal });
  }
  setPassword(body: { readonly password: string; readonly current?: string }): Promise<void> {
    return this.#call({ method: 'PUT', path: '/me/password', body, answer: null });
  }

  tokens(): Promise<readonly TokenItem[]> {
    return this.#call({ method: 'GET', path: '/tokens', answer: tokenList }).then((list) => list.items);
  }
  createToken(body: { readonly name: string; readonly expiresInSeconds?: number }): Promise<TokenAnswer> {
    return this.#call({ method: 'POST', path: '/tokens', body, answer: tokenAnswer, once: true });
  }
  removeToken(id: string): Promise<void> {
    return this.#call({ method: 'DELETE', path: `/tokens/${segment(id)}`, answer: null });
  }

  images(query: ImageListQuery = {}, signal?: AbortSignal): Promise<Page<ImageResource>> {
    return this.#call({ method: 'GET', path: '/images', query: { ...query }, answer: imagePage, signal });
  }
  image(id: string, signal?: AbortSignal): Promise<ImageResource> {
    return this.#call({ method: 'GET', path: `/images/${segment(id)}`, answer: imageResource, signal });
  }
  changeImage(id: string, body: ImageChange): Promise<ImageResource> {
    return this.#call({ method: 'PATCH', path: `/images/${segment(id)}`, body, answer: imageResource });
  }
  /** One that the agents fetch by themselves. The same `key` from the same user gets the same Image. */
  createImage(body: ImageCreate, key: string, signal?: AbortSignal): Promise<ImageResource> {
    const headers = { 'idempotency-key': key };
    return this.#call({ method: 'POST', path: '/images', body, headers, answer: imageResource, signal });
  }
  /** One more Copy, on this Store or one that Hawser chooses. */
  addCopy(id: string, storeId?: string): Promise<TaskResource> {
    const body = storeId === undefined ? {} : { storeId };
    return this.#call({ method: 'POST', path: `/images/${segment(id)}/copies`, body, answer: taskResource });
  }
  /** A failed download or clone, once more in its place. */
  fetchImage(id: string): Promise<ImageResource> {
    return this.#call({ method: 'POST', path: `/images/${segment(id)}/fetch`, answer: imageResource });
  }
  /** Removes these Copies, all or none. */
  cleanup(id: string, copyIds: readonly string[]): Promise<ImageResource> {
    const path = `/images/${segment(id)}/cleanup`;
    return this.#call({ method: 'POST', path, body: { copyIds }, answer: imageResource });
  }
  removeImage(id: string): Promise<void> {
    return this.#call({ method: 'DELETE', path: `/images/${segment(id)}`, answer: null });
  }
  verifyImage(id: string): Promise<TaskResource> {
    return this.#call({ method: 'POST', path: `/images/${segment(id)}/verify`, answer: taskResource, once: true });
  }
  digestImage(id: string, algorithm: Exclude<DigestAlgorithm, 'tree-sha256'>): Promise<TaskResource> {
    const path = `/images/${segment(id)}/digest`;
    return this.#call({ method: 'POST', path, body: { algorithm }, answer: taskResource, once: true });
  }
  extents(id: string, from: number, signal?: AbortSignal): Promise<ExtentList> {
    const path = `/images/${segment(id)}/extents`;
    return this.#call({ method: 'GET', path, query: { from }, answer: extentList, signal });
  }
  imageAccess(id: string, signal?: AbortSignal): Promise<DataAccess> {
    return this.#call({ method: 'GET', path: `/images/${segment(id)}/access`, answer: dataAccess, signal });
  }
  /** 32 bytes a block, from block `first` on; a leaf of zeros is one that is not known. At most 65 536. */
  leaves(of: LeafOwner, wanted: { readonly first: number; readonly count: number }, signal?: AbortSignal) {
    return this.#bytes(`/${of.kind}s/${segment(of.id)}/leaves`, { ...wanted }, signal);
  }

  /** The same `key` from the same user gets the same Upload. */
  beginUpload(body: UploadRequest, key: string, signal?: AbortSignal): Promise<UploadResource> {
    const headers = { 'idempotency-key': key };
    return this.#call({ method: 'POST', path: '/uploads', body, headers, answer: uploadResource, signal });
  }
  uploads(query: UploadListQuery = {}, signal?: AbortSignal): Promise<Page<UploadResource>> {
    return this.#call({ method: 'GET', path: '/uploads', query: { ...query }, answer: uploadPage, signal });
  }
  upload(id: string, signal?: AbortSignal): Promise<UploadResource> {
    return this.#call({ method: 'GET', path: `/uploads/${segment(id)}`, answer: uploadResource, signal });
  }
  cancelUpload(id: string): Promise<void> {
    return this.#call({ method: 'DELETE', path: `/uploads/${segment(id)}`, answer: null });
  }
  uploadAccess(id: string, signal?: AbortSignal): Promise<DataAccess> {
    return this.#call({ method: 'GET', path: `/uploads/${segment(id)}/access`, answer: dataAccess, signal });
  }
  ranges(id: string, signal?: AbortSignal): Promise<ReceivedRanges> {
    return this.#call({ method: 'GET', path: `/uploads/${segment(id)}/ranges`, answer: receivedRanges, signal });
  }
  zeros(id: string, ranges: readonly Range[], signal?: AbortSignal): Promise<Receipt> {
    const path = `/uploads/${segment(id)}/zeros`;
    return this.#call({ method: 'POST', path, body: { ranges }, answer: receipt, signal });
  }
  finishUpload(
    id: string,
    body: { readonly size?: number; readonly digest?: string },
    signal?: AbortSignal,
  ): Promise<FinishAnswer> {
    const path = `/uploads/${segment(id)}/finish`;
    return this.#call({ method: 'POST', path, body, answer: finishAnswer, signal });
  }

  tasks(query: TaskListQuery = {}, signal?: AbortSignal): Promise<Page<TaskResource>> {
    return this.#call({ method: 'GET', path: '/tasks', query: { ...query }, answer: taskPage, signal });
  }
  task(id: string, signal?: AbortSignal): Promise<TaskResource> {
    return this.#call({ method: 'GET', path: `/tasks/${segment(id)}`, answer: taskResource, signal });
  }
  taskEvents(id: string): Promise<readonly TaskEventItem[]> {
    const path = `/tasks/${segment(id)}/events`;
    return this.#call({ method: 'GET', path, answer: taskEvents }).then((list) => list.items);
  }
  actOnTask(id: string, action: 'pause' | 'resume' | 'cancel', signal?: AbortSignal): Promise<TaskResource> {
    return this.#call({ method: 'POST', path: `/tasks/${segment(id)}/${action}`, answer: taskResource, signal });
  }

  stores(signal?: AbortSignal): Promise<readonly StoreResource[]> {
    return this.#call({ method: 'GET', path: '/stores', answer: storeList, signal }).then((list) => list.items);
  }
  changeStore(id: string, body: StoreChange): Promise<StoreResource> {
    return this.#call({ method: 'PATCH', path: `/stores/${segment(id)}`, body, answer: storeResource });
  }

  hosts(signal?: AbortSignal): Promise<readonly HostResource[]> {
    return this.#call({ method: 'GET', path: '/hosts', answer: hostList, signal }).then((list) => list.items);
  }
  host(id: string, signal?: AbortSignal): Promise<HostResource> {
    return this.#call({ method: 'GET', path: `/hosts/${segment(id)}`, answer: hostResource, signal });
  }
  changeHost(id: string, body: HostChange): Promise<HostResource> {
    return this.#call({ method: 'PATCH', path: `/hosts/${segment(id)}`, body, answer: hostResource });
  }
  /** `force`: also while it is online or Copies are counted on it; those are lost. */
  removeHost(id: string, { force = false }: { readonly force?: boolean } = {}): Promise<void> {
    const query = force ? { force: 'true' } : {};
    return this.#call({ method: 'DELETE', path: `/hosts/${segment(id)}`, query, answer: null });
  }
  joinTokens(): Promise<readonly JoinTokenResource[]> {
    return this.#call({ method: 'GET', path: '/join-tokens', answer: joinTokenList }).then((list) => list.items);
  }
  createJoinToken(body: z.input<typeof joinTokenRequest>): Promise<JoinTokenCreated> {
    return this.#call({ method: 'POST', path: '/join-tokens', body, answer: joinTokenCreated, once: true });
  }
  removeJoinToken(id: string): Promise<void> {
    return this.#call({ method: 'DELETE', path: `/join-tokens/${segment(id)}`, answer: null });
  }

  async #bytes(path: string, query: Record<string, number>, signal?: AbortSignal): Promise<Uint8Array> {
    const answer = await this.#repeat({ method: 'GET', path, query, answer: null, signal });
    return new Uint8Array(await answer.arrayBuffer());
  }

  #call<T extends z.ZodType>(call: Call<T>): Promise<z.output<T>>;
  #call(call: Call<null>): Promise<void>;
  async #call(call: Call<z.ZodType | null>): Promise<unknown> {
    const answer = await this.#repeat(call);
    const text = await answer.text();
    if (call.answer === null) return undefined;
    const parsed = call.answer.safeParse(jsonOf(text));
    if (parsed.success) return parsed.data;
    throw new HawserError(
      'bad-request',
      `${call.method} ${this.urlOf(call.path)} answered something that this client does not understand; is it a Hawser server of the same version?`,
      { cause: parsed.error, details: { status: answer.status } },
    );
  }

  async #repeat(call: Call<z.ZodType | null>): Promise<FetchAnswer> {
    const { clock, repeats = 2 } = this.#options;
    const signal = call.signal ?? new AbortController().signal;
    for (let attempt = 1; ; attempt++) {
      try {
        return await this.#once(call);
      } catch (error) {
        signal.throwIfAborted();
        const known = toHawserError(error);
        const again = known.code === 'unavailable' || known.code === 'too-many';
        if (!again || call.once === true || attempt > repeats) throw known;
        await clock.delay(backoffMs(attempt, clock.random), signal);
      }
    }
  }

  async #once(call: Call<z.ZodType | null>): Promise<FetchAnswer> {
    const url = this.urlOf(call.path) + queryText(call.query);
    const headers: Record<string, string> = { accept: 'application/json', ...this.authorization, ...call.headers };
    if (call.body !== undefined) headers['content-type'] = 'application/json';
    const answer = await this.#options
      .fetch(url, {
        method: call.method,
        headers,
        ...(call.body === undefined ? {} : { body: JSON.stringify(call.body) }),
        ...(call.signal === undefined ? {} : { signal: call.signal }),
      })
      .catch((error: unknown) => {
        call.signal?.throwIfAborted();
        throw errorOfConnection(url, error);
      });
    if (answer.status >= 200 && answer.status < 300) return answer;
    const body = await answer.text().catch(() => '');
    const requestId = answer.headers.get('x-request-id');
    throw errorOfAnswer({ status: answer.status, body, url: this.urlOf(call.path), requestId });
  }
}

export type LeafOwner = { readonly kind: 'upload' | 'image'; readonly id: string };

/** Every item of a paged list. */
export async function* allOf<T>(page: (cursor?: string) => Promise<Page<T>>): AsyncGenerator<T> {
  let cursor: string | undefined;
  do {
    const { items, next } = await page(cursor);
    yield* items;
    cursor = next ?? undefined;
  } while (cursor !== undefined);
}

function segment(id: string): string {
  return encodeURIComponent(id);
}

function queryText(query: Call<null>['query'] = {}): string {
  const search = new URLSearchParams();
  for (const [key, value] of Object.entries(query)) if (value !== undefined) search.set(key, String(value));
  return search.size === 0 ? '' : `?${search}`;
}

function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
