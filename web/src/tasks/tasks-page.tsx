import { Button, Center, Loader, Text } from '@mantine/core';
import { useInfiniteQuery } from '@tanstack/react-query';
import { getRouteApi } from '@tanstack/react-router';
import { lazy, Suspense } from 'react';
import { queries } from '../api/queries.ts';
import { PageHead } from '../parts/page-head.tsx';
import { ProblemNote } from '../parts/problem-note.tsx';
import { TaskFilters } from './task-filters.tsx';
import { TaskTable } from './task-table.tsx';

const route = getRouteApi('/tasks');
const TaskDrawer = lazy(() => import('./task-drawer.tsx').then((m) => ({ default: m.TaskDrawer })));

export function TasksPage() {
  const { task, ...filter } = route.useSearch();
  const navigate = route.useNavigate();
  const tasks = useInfiniteQuery(queries.tasks(filter));
  const items = tasks.data?.pages.flatMap((page) => page.items) ?? [];
  const open = (id: string | undefined) =>
    void navigate({ search: { ...filter, task: id }, replace: id === undefined });
  const filtered = Object.values(filter).some((value) => value !== undefined);
  return (
    <>
      <PageHead title="Tasks" />
      <TaskFilters filter={filter} onChange={(next) => void navigate({ search: next, replace: true })} />
      {tasks.error !== null && <ProblemNote error={tasks.error} onRetry={() => void tasks.refetch()} />}
      {tasks.isPending && (
        <Center p="xl">
          <Loader aria-label="Loading Tasks" />
        </Center>
      )}
      {items.length > 0 && <TaskTable tasks={items} onOpen={open} />}
      {tasks.data !== undefined && items.length === 0 && (
        <Text role="status" c="dimmed" className="h-card" p="xl" ta="center">
          {filtered
            ? 'No Task matches these filters.'
            : 'No Tasks yet. They appear here when an Image arrives or is verified.'}
        </Text>
      )}
      {tasks.hasNextPage && (
        <Center mt="md">
          <Button variant="default" loading={tasks.isFetchingNextPage} onClick={() => void tasks.fetchNextPage()}>
            Show more
          </Button>
        </Center>
      )}
      <Suspense fallback={null}>{task && <TaskDrawer taskId={task} onClose={() => open(undefined)} />}</Suspense>
    </>
  );
}
