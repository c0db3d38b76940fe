import { Group, Stack, Table, Text, UnstyledButton } from '@mantine/core';
import type { TaskResource } from '../../../src/contract/api/task.ts';
import { Bar } from '../parts/bar.tsx';
import { formatBytes, formatRate, percent, timeLeft } from '../parts/numbers.ts';
import { TaskStateBadge } from '../parts/state-badge.tsx';
import { useNarrow } from '../parts/use-narrow.ts';
import { When } from '../parts/when.tsx';
import { TaskActions } from './task-actions.tsx';
import { TaskRoute } from './task-route.tsx';
import { taskKindText, taskTitle } from './task-title.ts';

interface TaskTableProps {
  readonly tasks: readonly TaskResource[];
  readonly onOpen: (id: string) => void;
}

/** A table where there is room, cards on a narrow screen. */
export function TaskTable({ tasks, onOpen }: TaskTableProps) {
  return useNarrow() ? <Cards tasks={tasks} onOpen={onOpen} /> : <Wide tasks={tasks} onOpen={onOpen} />;
}

function Wide({ tasks, onOpen }: TaskTableProps) {
  return (
    <div className="h-card">
      <Table className="h-table" highlightOnHover verticalSpacing="sm" aria-label="Tasks">
        <Table.Thead>
          <Table.Tr>
            <Table.Th>Task</Table.Th>
            <Table.Th>State</Table.Th>
            <Table.Th>Progress</Table.Th>
            <Table.Th>Begun</Table.Th>
            <Table.Th>Actions</Table.Th>
          </Table.Tr>
        </Table.Thead>
        <Table.Tbody>
          {tasks.map((task) => (
            <Table.Tr key={task.id}>
              <Table.Td maw={340}>
                <OpenTask task={task} onOpen={onOpen} />
                <TaskRoute task={task} />
                <Status task={task} />
              </Table.Td>
              <Table.Td>
                <TaskStateBadge state={task.state} />
              </Table.Td>
              <Table.Td w={240}>
                <Progress task={task} />
              </Table.Td>
              <Table.Td>
                <When at={task.createdAt} />
              </Table.Td>
              <Table.Td>
                <TaskActions task={task} />
              </Table.Td>
            </Table.Tr>
          ))}
        </Table.Tbody>
      </Table>
    </div>
  );
}

function Cards({ tasks, onOpen }: TaskTableProps) {
  return (
    <Stack component="ul" gap="sm" p={0} m={0} style={{ listStyle: 'none' }} aria-label="Tasks">
      {tasks.map((task) => (
        <li key={task.id} className="h-card" style={{ padding: 14 }}>
          <Group justify="space-between" gap="xs" wrap="nowrap" align="flex-start">
            <OpenTask task={task} onOpen={onOpen} />
            <TaskStateBadge state={task.state} />
          </Group>
          <TaskRoute task={task} />
          <Status task={task} />
          <Progress task={task} />
          <Group justify="space-between" mt={6}>
            <Text size="sm" c="dimmed">
              <When at={task.createdAt} />
            </Text>
            <TaskActions task={task} />
          </Group>
        </li>
      ))}
    </Stack>
  );
}

function OpenTask({ task, onOpen }: { readonly task: TaskResource; readonly onOpen: (id: string) => void }) {
  return (
    <UnstyledButton
      onClick={() => onOpen(task.id)}
      aria-label={`Show ${taskTitle(task)}`}
      className="h-break"
      style={{ fontWeight: 600, color: 'var(--mantine-color-anchor)' }}
    >
      {taskKindText(task.kind)} · {task.imageName ?? 'deleted Image'}
    </UnstyledButton>
  );
}

function Status({ task }: { readonly task: TaskResource }) {
  if (task.status === '') return null;
  return (
    <Text size="sm" c="dimmed" className="h-break" lineClamp={2}>
      {task.status}
    </Text>
  );
}

function Progress({ task }: { readonly task: TaskResource }) {
  if (task.state === 'SUCCESS') {
    return (
      <Text size="sm" c="dimmed">
        {formatBytes(task.totalBytes ?? task.doneBytes)}
      </Text>
    );
  }
  const share = percent(task.doneBytes, task.totalBytes);
  const left = task.state === 'RUNNING' ? timeLeft(task.doneBytes, task.totalBytes, task.rate) : undefined;
  const text = [
    share === undefined ? formatBytes(task.doneBytes) : `${share} % of ${formatBytes(task.totalBytes)}`,
    task.state === 'RUNNING' && task.rate ? formatRate(task.rate) : '',
    left ? `${left} left` : '',
  ];
  return (
    <>
      <Bar label={`Progress of ${taskTitle(task)}`} done={task.doneBytes} total={task.totalBytes} tone={toneOf(task)} />
      <Text size="xs" c="dimmed" mt={4}>
        {text.filter(Boolean).join(' · ')}
      </Text>
    </>
  );
}

function toneOf(task: TaskResource) {
  if (task.state === 'FAILURE') return 'bad';
  return task.state === 'RUNNING' || task.state === 'INITIATED' ? 'busy' : 'wait';
}
