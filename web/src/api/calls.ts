import type { Page } from '../../../src/contract/api/common.ts';
import type { HostResource, JoinTokenResource } from '../../../src/contract/api/host.ts';
import type { ExtentList, ImageCreate, ImageResource } from '../../../src/contract/api/image.ts';
import type { Me } from '../../../src/contract/api/session.ts';
import type { StoreResource } from '../../../src/contract/api/store.ts';
import type { TaskResource } from '../../../src/contract/api/task.ts';
import type { UploadResource } from '../../../src/contract/api/upload.ts';
import { request } from './http.ts';

export interface ImageFilter {
  readonly search?: string | undefined;
  readonly cursor?: string | undefined;
}

export interface TaskFilter {
  readonly state?: string | undefined;
  readonly kind?: string | undefined;
  readonly search?: string | undefined;
  readonly imageId?: string | undefined;
  readonly cursor?: string | undefined;
}

export interface TaskEventResource {
  readonly at: string;
  readonly from: string | null;
  readonly to: string;
  readonly cause: string | null;
  readonly status: string;
}

export interface TokenResource {
  readonly id: string;
  readonly name: string;
  readonly createdAt: string;
  readonly usedAt: string | null;
  readonly expiresAt: string | null;
}

export interface ByteRange {
  readonly offset: number;
  readonly length: number;
}

export interface ReceivedRanges {
  readonly declaredSize: number | null;
  readonly receivedBytes: number;
  readonly ranges: readonly ByteRange[];
  readonly zeros: readonly ByteRange[];
}

export interface ImageChange {
  readonly name?: string;
  readonly placement?: Partial<ImageResource['placement']>;
}

export interface PlaceChange {
  readonly enabled?: boolean;
  readonly evicting?: boolean;
  readonly tags?: readonly string[];
}

export type Credentials = { readonly token: string } | { readonly user: string; readonly password: string };
export type TaskAct = 'pause' | 'resume' | 'cancel';
export type FlatDigest = 'sha256' | 'sha512' | 'md5';

/** Every call of the native API that the page makes; docs/doors/api.md says what each one does. */
export const calls = {
  me: (signal?: AbortSignal) => request<Me>('GET', '/me', { signal }),
  signIn: (body: Credentials) => request<Me>('POST', '/session', { body }),
  signOut: () => request<void>('DELETE', '/session'),
  setPassword: (body: { readonly password: string; readonly current?: string }) =>
    request<void>('PUT', '/me/password', { body }),

  tokens: () => request<{ readonly items: readonly TokenResource[] }>('GET', '/tokens'),
  createToken: (body: { readonly name: string; readonly expiresInSeconds?: number }) =>
    request<TokenResource & { readonly token: string }>('POST', '/tokens', { body }),
  removeToken: (id: string) => request<void>('DELETE', `/tokens/${id}`),

  images: (filter: ImageFilter, signal?: AbortSignal) =>
    request<Page<ImageResource>>('GET', '/images', { query: { ...filter }, signal }),
  image: (id: string, signal?: AbortSignal) => request<ImageResource>('GET', `/images/${id}`, { signal }),
  changeImage: (id: string, body: ImageChange) => request<ImageResource>('PATCH', `/images/${id}`, { body }),
  createImage: (body: ImageCreate, key: string) =>
    request<ImageResource>('POST', '/images', { body, headers: { 'idempotency-key': key } }),
  addCopy: (id: string, storeId: string | undefined) =>
    request<TaskResource>('POST', `/images/${id}/copies`, { body: storeId === undefined ? {} : { storeId } }),
  fetchImage: (id: string) => request<ImageResource>('POST', `/images/${id}/fetch`),
  removeCopies: (id: string, copyIds: readonly string[]) =>
    request<ImageResource>('POST', `/images/${id}/cleanup`, { body: { copyIds } }),
  removeImage: (id: string) => request<void>('DELETE', `/images/${id}`),
  extents: (id: string, from: number, signal?: AbortSignal) =>
    request<ExtentList>('GET', `/images/${id}/extents`, { query: { from }, signal }),
  verifyImage: (id: string) => request<TaskResource>('POST', `/images/${id}/verify`),
  digestImage: (id: string, algorithm: FlatDigest) =>
    request<TaskResource>('POST', `/images/${id}/digest`, { body: { algorithm } }),

  uploads: (state: string, signal?: AbortSignal) =>
    request<Page<UploadResource>>('GET', '/uploads', { query: { state, limit: 100 }, signal }),
  upload: (id: string, signal?: AbortSignal) => request<UploadResource>('GET', `/uploads/${id}`, { signal }),
  uploadRanges: (id: string, signal?: AbortSignal) =>
    request<ReceivedRanges>('GET', `/uploads/${id}/ranges`, { signal }),
  cancelUpload: (id: string) => request<void>('DELETE', `/uploads/${id}`),

  tasks: (filter: TaskFilter, signal?: AbortSignal) =>
    request<Page<TaskResource>>('GET', '/tasks', { query: { ...filter }, signal }),
  task: (id: string, signal?: AbortSignal) => request<TaskResource>('GET', `/tasks/${id}`, { signal }),
  taskEvents: (id: string, signal?: AbortSignal) =>
    request<{ readonly items: readonly TaskEventResource[] }>('GET', `/tasks/${id}/events`, { signal }),
  act: (id: string, action: TaskAct) => request<TaskResource>('POST', `/tasks/${id}/${action}`),

  stores: (signal?: AbortSignal) => request<{ readonly items: readonly StoreResource[] }>('GET', '/stores', { signal }),
  changeStore: (id: string, body: PlaceChange) => request<StoreResource>('PATCH', `/stores/${id}`, { body }),

  hosts: (signal?: AbortSignal) => request<{ readonly items: readonly HostResource[] }>('GET', '/hosts', { signal }),
  changeHost: (id: string, body: PlaceChange) => request<HostResource>('PATCH', `/hosts/${id}`, { body }),
  removeHost: (id: string, options: { readonly force: boolean }) =>
    request<void>('DELETE', `/hosts/${id}`, { query: options.force ? { force: 'true' } : {} }),
  joinTokens: (signal?: AbortSignal) =>
    request<{ readonly items: readonly JoinTokenResource[] }>('GET', '/join-tokens', { signal }),
  createJoinToken: (body: { readonly name: string; readonly expiresInSeconds: number }) =>
    request<JoinTokenResource & { readonly secret: string; readonly warning: string | null }>('POST', '/join-tokens', {
      body,
    }),
  removeJoinToken: (id: string) => request<void>('DELETE', `/join-tokens/${id}`),
};
