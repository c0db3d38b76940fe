import { ActionIcon, Group, Text, Tooltip } from '@mantine/core';
import { IconTrash } from '@tabler/icons-react';
import { useMutation, useQueryClient } from '@tanstack/react-query';
import { useState } from 'react';
import type { ImageResource } from '../../../src/contract/api/image.ts';
import type { TaskResource } from '../../../src/contract/api/task.ts';
import { calls } from '../api/calls.ts';
import { Bar } from '../parts/bar.tsx';
import { Confirm } from '../parts/confirm.tsx';
import { formatBytes, formatRate, percent, timeLeft } from '../parts/numbers.ts';
import { CopyStateBadge } from '../parts/state-badge.tsx';

interface CopyRowProps {
  readonly image: ImageResource;
  readonly copy: ImageResource['copies'][number];
  /** What fills it now. */
  readonly task: TaskResource | undefined;
}

/** One Copy: where, how far, and why it stays. */
export function CopyRow({ image, copy, task }: CopyRowProps) {
  const gone = copy.state === 'removing' || copy.state === 'removed';
  return (
    <>
      <Group justify="space-between" gap="xs" wrap="nowrap" align="flex-start">
        <div style={{ minWidth: 0, flex: 1 }}>
          <Group gap="xs">
            <Text fw={600} className="h-break">
              {copy.storeName}
            </Text>
            <Text size="sm" c="dimmed" className="h-break">
              on {copy.hostName}
            </Text>
            <CopyStateBadge state={copy.state} />
            <Text size="sm" c="dimmed">
              {copy.storedSize === null ? '' : `takes ${formatBytes(copy.storedSize)}`}
            </Text>
          </Group>
        </div>
        {copy.guard === null && !gone && <RemoveCopy image={image} copy={copy} />}
      </Group>
      {(copy.state === 'in-progress' || copy.state === 'pending') && <Arriving image={image} copy={copy} task={task} />}
      {copy.status !== '' && (
        <Text size="sm" c="dimmed" className="h-break">
          {copy.status}
        </Text>
      )}
      {copy.guard !== null && !gone && (
        <Text size="sm" c="dimmed" className="h-break">
          <b>It stays:</b> {copy.guard}
        </Text>
      )}
    </>
  );
}

function Arriving({ image, copy, task }: CopyRowProps) {
  const total = image.size ?? image.declaredSize;
  const done = task === undefined ? copy.doneBytes : Math.max(copy.doneBytes, task.doneBytes);
  const share = percent(done, total);
  const left = task === undefined ? undefined : timeLeft(done, total, task.rate);
  const held = task?.state === 'PAUSED' || task?.state === 'HALTED';
  const text = [
    share === undefined ? formatBytes(done) : `${share} % of ${formatBytes(total)}`,
    task?.rate ? formatRate(task.rate) : '',
    held ? 'paused' : left ? `${left} left` : '',
  ];
  return (
    <>
      <Bar
        label={`Copy on ${copy.storeName} on ${copy.hostName}`}
        done={done}
        total={total}
        tone={held ? 'wait' : 'busy'}
      />
      <Text size="xs" c="dimmed">
        {text.filter(Boolean).join(' · ')}
      </Text>
    </>
  );
}

function RemoveCopy({ image, copy }: Pick<CopyRowProps, 'image' | 'copy'>) {
  const [asking, setAsking] = useState(false);
  const client = useQueryClient();
  const remove = useMutation({
    mutationFn: () => calls.removeCopies(image.id, [copy.id]),
    onSuccess: (changed) => {
      client.setQueryData(['image', image.id], changed);
      setAsking(false);
    },
  });
  const label = `Remove the copy on ${copy.storeName} on ${copy.hostName}`;
  return (
    <>
      <Tooltip label="Remove this copy">
        <ActionIcon
          variant="subtle"
          color="gray"
          c="var(--mantine-color-text)"
          aria-label={label}
          onClick={() => {
            remove.reset();
            setAsking(true);
          }}
        >
          <IconTrash size={18} aria-hidden="true" />
        </ActionIcon>
      </Tooltip>
      <Confirm
        opened={asking}
        title="Remove this copy?"
        action="Remove the copy"
        busy={remove.isPending}
        error={remove.error}
        onConfirm={() => remove.mutate()}
        onClose={() => setAsking(false)}
      >
        The bytes of <b>{image.name}</b> on {copy.storeName} ({copy.hostName}) are removed. Its other Copies stay.
      </Confirm>
    </>
  );
}
