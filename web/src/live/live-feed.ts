import type { InfiniteData, QueryClient } from '@tanstack/react-query';
import type { Page } from '../../../src/contract/api/common.ts';
import type { ApiEvent } from '../../../src/contract/api/events.ts';
import type { HostResource } from '../../../src/contract/api/host.ts';
import type { ImageResource } from '../../../src/contract/api/image.ts';
import type { TaskResource } from '../../../src/contract/api/task.ts';
import { signalStore } from '../parts/signal-store.ts';
import { recordRate } from './throughput.ts';

/** `polling`: the socket cannot be had now, lists are read again every 5 s. */
export type LiveState = 'connecting' | 'live' | 'polling';
export const liveState = signalStore<LiveState>('connecting');

const POLL_MS = 5_000;
const MAX_BACKOFF_MS = 15_000;

/** Follows the server's events until `signal` fires and writes them into the query caches. */
export function followEvents(client: QueryClient, signal: AbortSignal): void {
  let attempt = 0;
  let retry: ReturnType<typeof setTimeout> | undefined;
  let socket: WebSocket | undefined;
  const poll = setInterval(() => {
    if (liveState.get() !== 'live') void client.invalidateQueries({ refetchType: 'active' });
  }, POLL_MS);

  const connect = () => {
    socket = new WebSocket(new URL('/api/v1/events', location.href.replace(/^http/, 'ws')));
    socket.onmessage = (message) => {
      attempt = 0;
      apply(client, JSON.parse(String(message.data)) as ApiEvent);
    };
    socket.onclose = () => {
      if (signal.aborted) return;
      liveState.set('polling');
      retry = setTimeout(connect, Math.min(MAX_BACKOFF_MS, 500 * 2 ** attempt++));
    };
  };
  const connectNow = () => {
    if (socket?.readyState === WebSocket.CLOSED) {
      clearTimeout(retry);
      connect();
    }
  };
  connect();
  window.addEventListener('online', connectNow, { signal });
  signal.addEventListener('abort', () => {
    clearInterval(poll);
    clearTimeout(retry);
    socket?.close();
    liveState.set('connecting');
  });
}

function apply(client: QueryClient, event: ApiEvent): void {
  switch (event.kind) {
    case 'hello':
      if (liveState.get() !== 'connecting') void client.invalidateQueries({ refetchType: 'active' });
      liveState.set('live');
      return;
    case 'image':
      client.setQueryData<ImageResource>(['image', event.image.id], event.image);
      if (!replaceInPages(client, 'images', event.image)) refreshSoon(client, 'images');
      if (event.image.state === 'ready') refreshSoon(client, 'extents');
      return;
    case 'image-deleted':
      client.removeQueries({ queryKey: ['image', event.id] });
      dropFromPages(client, 'images', event.id);
      refreshSoon(client, 'uploads');
      return;
    case 'task':
      applyTask(client, event.task);
      return;
    case 'upload':
      refreshSoon(client, 'uploads');
      refreshSoon(client, 'upload-ranges');
      return;
    case 'store':
      replaceListed(client, 'stores', event.store);
      return;
    case 'host':
      applyHost(client, event.host);
  }
}

function applyTask(client: QueryClient, task: TaskResource): void {
  recordRate(task);
  const before = client.getQueryData<TaskResource>(['task', task.id]);
  client.setQueryData<TaskResource>(['task', task.id], task);
  if (before?.state !== task.state) refreshSoon(client, 'task-events');
  const known = replaceInPages(client, 'tasks', task);
  client.setQueryData<readonly TaskResource[]>(['image-tasks', task.imageId], (tasks) =>
    tasks?.map((old) => (old.id === task.id ? task : old)),
  );
  if (before?.state !== task.state) refreshSoon(client, 'image-tasks');
  if (!known || before?.state !== task.state) refreshSoon(client, 'tasks');
}

interface Named {
  readonly id: string;
}

function replaceInPages<T extends Named>(client: QueryClient, key: string, item: T): boolean {
  let found = false;
  client.setQueriesData<InfiniteData<Page<T>>>({ queryKey: [key] }, (data) => {
    if (!data?.pages.some((page) => page.items.some((old) => old.id === item.id))) return data;
    found = true;
    return {
      ...data,
      pages: data.pages.map((page) => ({
        ...page,
        items: page.items.map((old) => (old.id === item.id ? item : old)),
      })),
    };
  });
  return found;
}

function dropFromPages(client: QueryClient, key: string, id: string): void {
  client.setQueriesData<InfiniteData<Page<Named>>>(
    { queryKey: [key] },
    (data) =>
      data && {
        ...data,
        pages: data.pages.map((page) => ({ ...page, items: page.items.filter((old) => old.id !== id) })),
      },
  );
}

function applyHost(client: QueryClient, host: HostResource): void {
  const before = listed<HostResource>(client, 'hosts')?.find((old) => old.id === host.id);
  if (host.state === 'removed') dropListed(client, host.id);
  else replaceListed(client, 'hosts', host);
  if (before?.state === host.state && before.storeCount === host.storeCount) return;
  refreshSoon(client, 'stores');
  refreshSoon(client, 'join-tokens');
}

interface List<T> {
  readonly items: readonly T[];
}

function listed<T>(client: QueryClient, key: string): readonly T[] | undefined {
  return client.getQueryData<List<T>>([key])?.items;
}

/** In its place, or at the end. */
function replaceListed<T extends Named>(client: QueryClient, key: string, item: T): void {
  client.setQueryData<List<T>>([key], (data) => {
    if (data === undefined) return data;
    const others = data.items.filter((old) => old.id !== item.id);
    const index = data.items.findIndex((old) => old.id === item.id);
    return { items: others.toSpliced(index < 0 ? others.length : index, 0, item) };
  });
}

function dropListed(client: QueryClient, hostId: string): void {
  client.setQueryData<List<HostResource>>(['hosts'], (data) =>
    data === undefined ? data : { items: data.items.filter((old) => old.id !== hostId) },
  );
}

const waiting = new Set<string>();

/** Events come often; a list is read again at most once a second. */
function refreshSoon(client: QueryClient, key: string): void {
  if (waiting.has(key)) return;
  waiting.add(key);
  setTimeout(() => {
    waiting.delete(key);
    void client.invalidateQueries({ queryKey: [key], refetchType: 'active' });
  }, 1_000);
}
