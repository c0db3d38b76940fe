import { Anchor, Drawer, Group, Loader, Stack, Text, Title } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { Link } from '@tanstack/react-router';
import { lazy, Suspense } from 'react';
import type { TaskResource } from '../../../src/contract/api/task.ts';
import { taskStates } from '../../../src/core/states.ts';
import { queries } from '../api/queries.ts';
import { Bar } from '../parts/bar.tsx';
import { exactBytes, formatRate, percent } from '../parts/numbers.ts';
import { ProblemNote } from '../parts/problem-note.tsx';
import { TaskStateBadge, taskStateText } from '../parts/state-badge.tsx';
import { exactTime } from '../parts/when.tsx';
import { TaskActions } from './task-actions.tsx';
import { TaskRoute } from './task-route.tsx';
import { causeAdvice, taskTitle } from './task-title.ts';

const ThroughputPlot = lazy(() => import('./throughput-plot.tsx').then((m) => ({ default: m.ThroughputPlot })));

/** One Task: where it stands, how fast it moves, and what happened to it. */
export function TaskDrawer({ taskId, onClose }: { readonly taskId: string; readonly onClose: () => void }) {
  const task = useQuery(queries.task(taskId));
  return (
    <Drawer
      opened
      onClose={onClose}
      position="right"
      size="lg"
      title={task.data === undefined ? 'Task' : taskTitle(task.data)}
      closeButtonProps={{ 'aria-label': 'Close' }}
    >
      {task.error !== null && <ProblemNote error={task.error} onRetry={() => void task.refetch()} />}
      {task.isPending && <Loader aria-label="Loading the Task" />}
      {task.data !== undefined && <Detail task={task.data} />}
    </Drawer>
  );
}

function Detail({ task }: { readonly task: TaskResource }) {
  const share = percent(task.doneBytes, task.totalBytes);
  const advice = task.endedAt === null || task.state === 'FAILURE' ? causeAdvice(task) : undefined;
  return (
    <Stack gap="md">
      <Group justify="space-between">
        <TaskStateBadge state={task.state} />
        <TaskActions task={task} />
      </Group>
      <TaskRoute task={task} />
      {task.status !== '' && <Text className="h-break">{task.status}</Text>}
      {advice !== undefined && <Text size="sm">{advice}</Text>}
      <div>
        <Bar label="Progress" done={task.doneBytes} total={task.totalBytes} />
        <Group justify="space-between" mt={4}>
          <Text size="sm">
            {exactBytes(task.doneBytes)}
            {share === undefined ? '' : `, ${share} %`}
          </Text>
          {task.state === 'RUNNING' && <Text size="sm">{formatRate(task.rate)}</Text>}
        </Group>
      </div>
      {task.state === 'RUNNING' && (
        <Suspense fallback={null}>
          <ThroughputPlot task={task} />
        </Suspense>
      )}
      <Facts task={task} />
      <History taskId={task.id} />
    </Stack>
  );
}

function Facts({ task }: { readonly task: TaskResource }) {
  const { from: _from, to: _to, ...rest } = task.result ?? {}; // the route says these
  const result = Object.entries(rest).filter(([, value]) => !isEmptyList(value));
  return (
    <Stack gap={4}>
      {task.imageId !== null && (
        <Anchor
          renderRoot={(props) => <Link to="/images/$imageId" params={{ imageId: task.imageId ?? '' }} {...props} />}
        >
          Open the Image
        </Anchor>
      )}
      <Text size="sm" c="dimmed">
        Owner {task.owner}
        {task.cause === null ? '' : ` · cause ${task.cause}`}
      </Text>
      {result.map(([key, value]) => (
        <Text key={key} size="sm" className="h-break">
          {key}: <code className="h-mono">{typeof value === 'string' ? value : JSON.stringify(value)}</code>
        </Text>
      ))}
    </Stack>
  );
}

function History({ taskId }: { readonly taskId: string }) {
  const events = useQuery(queries.taskEvents(taskId));
  return (
    <section aria-labelledby="task-history">
      <Title order={3} size="h6" id="task-history" mb="xs">
        History
      </Title>
      <Stack component="ol" gap="sm" p={0} m={0} style={{ listStyle: 'none' }}>
        {(events.data?.items ?? []).map((event) => (
          <li key={`${event.at} ${event.to}`} style={{ borderLeft: '3px solid var(--h-line)', paddingLeft: 12 }}>
            <Text size="sm">
              <b>{stateText(event.to)}</b>
              {event.cause === null ? '' : ` · ${event.cause}`}
            </Text>
            {event.status !== '' && (
              <Text size="sm" className="h-break">
                {event.status}
              </Text>
            )}
            <Text size="xs" c="dimmed">
              {exactTime(event.at)}
            </Text>
          </li>
        ))}
      </Stack>
    </section>
  );
}

function stateText(state: string): string {
  return state in taskStates.moves ? taskStateText(state as TaskResource['state']) : state;
}

/** `damaged: []` says nothing that the status does not say. */
function isEmptyList(value: unknown): boolean {
  return Array.isArray(value) && value.length === 0;
}
