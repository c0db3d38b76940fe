import { ActionIcon, Group, Tooltip } from '@mantine/core';
import { notifications } from '@mantine/notifications';
import { IconPlayerPause, IconPlayerPlay, IconX } from '@tabler/icons-react';
import { useMutation, useQueryClient } from '@tanstack/react-query';
import { useState } from 'react';
import type { TaskResource } from '../../../src/contract/api/task.ts';
import { toHawserError } from '../../../src/core/errors.ts';
import { calls, type TaskAct } from '../api/calls.ts';
import { Confirm } from '../parts/confirm.tsx';
import { useSignal } from '../parts/signal-store.ts';
import { uploadBoard } from '../uploads/upload-board.ts';
import { taskTitle } from './task-title.ts';

const looks = {
  pause: { icon: IconPlayerPause, verb: 'Pause' },
  resume: { icon: IconPlayerPlay, verb: 'Resume' },
  cancel: { icon: IconX, verb: 'Cancel' },
} as const satisfies Record<TaskAct, { readonly icon: typeof IconX; readonly verb: string }>;

const moving: readonly TaskResource['kind'][] = ['upload', 'download', 'clone', 'replicate'];

/** What may be done now. An Upload of this very browser is paused and resumed where its file is: on the board. */
export function TaskActions({ task }: { readonly task: TaskResource }) {
  const [asking, setAsking] = useState(false);
  const client = useQueryClient();
  const mine = useSignal(uploadBoard.items).find((item) => item.taskId === task.id);
  const act = useMutation({
    mutationFn: async (action: TaskAct) => {
      if (mine !== undefined) await uploadBoard[action](mine.id);
      else await calls.act(task.id, action);
    },
    onSuccess: () => client.invalidateQueries({ refetchType: 'active' }),
    onError: (error) =>
      notifications.show({ title: 'That did not work', message: toHawserError(error).message, color: 'red' }),
  });
  if (task.actions.length === 0) return null;
  return (
    <Group gap={4} wrap="nowrap">
      {task.actions.map((action) => {
        const { icon: Icon, verb } = looks[action];
        const label = `${verb} ${taskTitle(task)}`;
        return (
          <Tooltip key={action} label={verb}>
            <ActionIcon
              variant="default"
              size={32}
              aria-label={label}
              loading={act.isPending && act.variables === action}
              onClick={() => (action === 'cancel' ? setAsking(true) : act.mutate(action))}
            >
              <Icon size={16} aria-hidden="true" />
            </ActionIcon>
          </Tooltip>
        );
      })}
      <Confirm
        opened={asking}
        title="Cancel this Task?"
        action="Cancel the Task"
        busy={act.isPending}
        onConfirm={() => act.mutate('cancel', { onSettled: () => setAsking(false) })}
        onClose={() => setAsking(false)}
      >
        <b>{taskTitle(task)}</b> stops for good. {moving.includes(task.kind) && 'What has arrived is thrown away.'}
      </Confirm>
    </Group>
  );
}
