import { AppShell, Badge, NavLink, ScrollArea, Stack, Text } from '@mantine/core';
import { IconDatabase, IconDeviceSdCard, IconKey, IconListCheck, IconServer2 } from '@tabler/icons-react';
import { useInfiniteQuery } from '@tanstack/react-query';
import { Link, useRouterState } from '@tanstack/react-router';
import type { TaskResource } from '../../../src/contract/api/task.ts';
import { queries, RUNNING_STATES } from '../api/queries.ts';
import { Bar } from '../parts/bar.tsx';
import { percent, timeLeft } from '../parts/numbers.ts';
import { taskTitle } from '../tasks/task-title.ts';

const places = [
  { to: '/images', label: 'Images', icon: IconDeviceSdCard },
  { to: '/tasks', label: 'Tasks', icon: IconListCheck },
  { to: '/hosts', label: 'Hosts', icon: IconServer2 },
  { to: '/stores', label: 'Stores', icon: IconDatabase },
  { to: '/access', label: 'Access', icon: IconKey },
] as const;

export function SideMenu({ onNavigate }: { readonly onNavigate: () => void }) {
  const path = useRouterState({ select: (state) => state.location.pathname });
  const running = useRunningTasks();
  return (
    <>
      <AppShell.Section p="sm">
        {places.map(({ to, label, icon: Icon }) => {
          const here = path.startsWith(to);
          return (
            <NavLink
              key={to}
              renderRoot={(props) => <Link to={to} {...props} />}
              label={label}
              active={here}
              aria-current={here ? 'page' : undefined}
              color="harbor"
              variant="light"
              style={{ borderRadius: 8, fontWeight: here ? 600 : 400 }}
              c="var(--mantine-color-text)"
              leftSection={<Icon size={20} aria-hidden="true" />}
              rightSection={to === '/tasks' && running.length > 0 ? <Count of={running.length} /> : undefined}
              onClick={onNavigate}
            />
          );
        })}
      </AppShell.Section>
      <AppShell.Section grow component={ScrollArea} p="sm" style={{ borderTop: '1px solid var(--h-line)' }}>
        <Running tasks={running} />
      </AppShell.Section>
    </>
  );
}

function Count({ of }: { readonly of: number }) {
  return (
    <Badge size="sm" variant="filled" circle aria-label={`${of} running`}>
      {of}
    </Badge>
  );
}

function Running({ tasks }: { readonly tasks: readonly TaskResource[] }) {
  return (
    <section aria-labelledby="running-now">
      <Text id="running-now" component="h2" size="sm" fw={600} c="dimmed" mb="xs">
        Running now
      </Text>
      {tasks.length === 0 && (
        <Text size="sm" c="dimmed">
          All quiet.
        </Text>
      )}
      <Stack gap="sm" component="ul" style={{ listStyle: 'none', padding: 0, margin: 0 }}>
        {tasks.slice(0, 8).map((task) => (
          <li key={task.id}>
            <RunningTask task={task} />
          </li>
        ))}
      </Stack>
    </section>
  );
}

function RunningTask({ task }: { readonly task: TaskResource }) {
  const left = timeLeft(task.doneBytes, task.totalBytes, task.rate);
  const share = percent(task.doneBytes, task.totalBytes);
  const held = task.state === 'PAUSED' || task.state === 'HALTED';
  const says = held ? 'paused' : left ? `${left} left` : '';
  return (
    <Link to="/tasks" search={{ task: task.id }} style={{ color: 'inherit', textDecoration: 'none', display: 'block' }}>
      <Text size="sm" truncate title={task.imageName ?? undefined}>
        {taskTitle(task)}
      </Text>
      <Bar label={taskTitle(task)} done={task.doneBytes} total={task.totalBytes} tone={held ? 'wait' : 'busy'} />
      <Text size="xs" c="dimmed">
        {[share === undefined ? '' : `${share} %`, says].filter(Boolean).join(' · ')}
      </Text>
    </Link>
  );
}

/** Newest first, without those that events have ended since the list was read. */
function useRunningTasks(): readonly TaskResource[] {
  const { data } = useInfiniteQuery(queries.tasks({ state: RUNNING_STATES }));
  const all = data?.pages.flatMap((page) => page.items) ?? [];
  return all.filter((task) => task.endedAt === null);
}
