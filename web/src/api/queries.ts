import { infiniteQueryOptions, keepPreviousData, queryOptions } from '@tanstack/react-query';
import type { TaskFilter } from './calls.ts';
import { calls } from './calls.ts';

export const RUNNING_STATES = 'INITIATED,RUNNING,PAUSED,HALTED';

/** What the page keeps of the server. Live events write into these caches (live/live-feed.ts). */
export const queries = {
  me: () => queryOptions({ queryKey: ['me'], queryFn: ({ signal }) => calls.me(signal), retry: false }),
  images: (search: string) =>
    infiniteQueryOptions({
      queryKey: ['images', search],
      queryFn: ({ pageParam, signal }) => calls.images({ search, cursor: pageParam }, signal),
      initialPageParam: undefined as string | undefined,
      getNextPageParam: (last) => last.next ?? undefined,
      placeholderData: keepPreviousData,
    }),
  image: (id: string) => queryOptions({ queryKey: ['image', id], queryFn: ({ signal }) => calls.image(id, signal) }),
  extents: (id: string) =>
    queryOptions({
      queryKey: ['extents', id],
      queryFn: ({ signal }) => calls.extents(id, 0, signal),
      staleTime: Number.POSITIVE_INFINITY,
    }),
  tasks: (filter: Omit<TaskFilter, 'cursor'>) =>
    infiniteQueryOptions({
      queryKey: ['tasks', filter],
      queryFn: ({ pageParam, signal }) => calls.tasks({ ...filter, cursor: pageParam }, signal),
      initialPageParam: undefined as string | undefined,
      getNextPageParam: (last) => last.next ?? undefined,
      placeholderData: keepPreviousData,
    }),
  task: (id: string) => queryOptions({ queryKey: ['task', id], queryFn: ({ signal }) => calls.task(id, signal) }),
  taskEvents: (id: string) =>
    queryOptions({ queryKey: ['task-events', id], queryFn: ({ signal }) => calls.taskEvents(id, signal) }),
  openUploads: () =>
    queryOptions({
      queryKey: ['uploads', 'open'],
      queryFn: async ({ signal }) => {
        const [open, paused] = await Promise.all([calls.uploads('open', signal), calls.uploads('paused', signal)]);
        return [...open.items, ...paused.items];
      },
    }),
  uploadRanges: (id: string) =>
    queryOptions({ queryKey: ['upload-ranges', id], queryFn: ({ signal }) => calls.uploadRanges(id, signal) }),
  stores: () => queryOptions({ queryKey: ['stores'], queryFn: ({ signal }) => calls.stores(signal) }),
  tokens: () => queryOptions({ queryKey: ['tokens'], queryFn: () => calls.tokens() }),
};
