import { infiniteQueryOptions, keepPreviousData, queryOptions } from '@tanstack/react-query';
import { condensed } from '../images/map-cells.ts';
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
  /** Page after page: an Image may have more extents than one answer holds. */
  extents: (id: string) =>
    infiniteQueryOptions({
      queryKey: ['extents', id],
      queryFn: async ({ pageParam, signal }) => condensed(await calls.extents(id, pageParam, signal)),
      initialPageParam: 0,
      getNextPageParam: (last) => last.next,
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
  /** What works on this Image now. */
  tasksOfImage: (imageId: string) =>
    queryOptions({
      queryKey: ['image-tasks', imageId],
      queryFn: async ({ signal }) => (await calls.tasks({ imageId, state: RUNNING_STATES }, signal)).items,
    }),
  upload: (id: string) =>
    queryOptions({
      queryKey: ['upload', id],
      queryFn: ({ signal }) => calls.upload(id, signal),
      staleTime: Number.POSITIVE_INFINITY,
    }),
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
  hosts: () => queryOptions({ queryKey: ['hosts'], queryFn: ({ signal }) => calls.hosts(signal) }),
  joinTokens: () => queryOptions({ queryKey: ['join-tokens'], queryFn: ({ signal }) => calls.joinTokens(signal) }),
  tokens: () => queryOptions({ queryKey: ['tokens'], queryFn: () => calls.tokens() }),
};
