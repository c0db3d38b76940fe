import { Button, Group, Loader, Modal, NativeSelect, Stack, Text, TextInput } from '@mantine/core';
import { IconAlertTriangle, IconCircleCheck } from '@tabler/icons-react';
import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query';
import type { FormEvent } from 'react';
import { calls } from '../api/calls.ts';
import { queries } from '../api/queries.ts';
import { CopyLine } from '../parts/copy-line.tsx';
import { ProblemNote } from '../parts/problem-note.tsx';
import { HostStateBadge } from '../parts/state-badge.tsx';
import { exactTime, When } from '../parts/when.tsx';

const HOUR = 3600;
const lives = [
  { value: String(HOUR), label: 'One hour' },
  { value: String(24 * HOUR), label: 'One day' },
  { value: String(7 * 24 * HOUR), label: 'One week' },
];

type Made = Awaited<ReturnType<typeof calls.createJoinToken>>;

/** Makes a join token, shows the one line to run, and waits until the host has come. */
export function AddHost({ opened, onClose }: { readonly opened: boolean; readonly onClose: () => void }) {
  return (
    <Modal opened={opened} onClose={onClose} title="Add a host" size="lg" closeButtonProps={{ 'aria-label': 'Close' }}>
      <Steps onClose={onClose} />
    </Modal>
  );
}

function Steps({ onClose }: { readonly onClose: () => void }) {
  const client = useQueryClient();
  const create = useMutation({
    mutationFn: calls.createJoinToken,
    onSuccess: () => client.invalidateQueries({ queryKey: ['join-tokens'] }),
  });
  const submit = (event: FormEvent<HTMLFormElement>) => {
    event.preventDefault();
    const form = new FormData(event.currentTarget);
    const name = String(form.get('name') ?? '').trim();
    create.mutate({ name: name === '' ? 'new host' : name, expiresInSeconds: Number(form.get('life')) });
  };
  if (create.data !== undefined) return <Joining made={create.data} onClose={onClose} />;
  return (
    <form onSubmit={submit}>
      <Stack>
        <Text size="sm">
          A token lets one machine in. You run one command there; the host and its Stores then appear here by
          themselves.
        </Text>
        <TextInput
          name="name"
          label="What it is for (optional)"
          placeholder="rack 2, the new one"
          maxLength={255}
          data-autofocus
        />
        <NativeSelect name="life" label="Valid for" data={lives} />
        {create.error !== null && <ProblemNote error={create.error} />}
        <Group justify="flex-end">
          <Button variant="default" onClick={onClose}>
            Cancel
          </Button>
          <Button type="submit" loading={create.isPending}>
            Make a token
          </Button>
        </Group>
      </Stack>
    </form>
  );
}

function Joining({ made, onClose }: { readonly made: Made; readonly onClose: () => void }) {
  const tokens = useQuery({ ...queries.joinTokens(), refetchInterval: 2_000 });
  const hosts = useQuery(queries.hosts());
  const token = tokens.data?.items.find((each) => each.id === made.id);
  const host = hosts.data?.items.find((each) => each.id === token?.hostId);
  return (
    <Stack>
      <Text size="sm">
        Run this on the new machine, as the user that shall own its files. It is shown only this once and ends{' '}
        <When at={made.expiresAt} /> ({exactTime(made.expiresAt)}).
      </Text>
      <div className="h-card" style={{ padding: 12, background: 'var(--h-quiet)' }}>
        <CopyLine what="the command" text={`hawser agent --join ${made.secret}`} />
      </div>
      {made.warning !== null && !token?.usedAt && (
        <Group gap="xs" wrap="nowrap" align="flex-start" role="note">
          <IconAlertTriangle size={20} color="var(--h-wait)" aria-hidden="true" style={{ flexShrink: 0 }} />
          <Text size="sm" className="h-break">
            {made.warning}
          </Text>
        </Group>
      )}
      <div role="status">
        {token?.usedAt ? (
          <Group gap="xs">
            <IconCircleCheck size={20} color="var(--h-good)" aria-hidden="true" />
            <Text size="sm">
              <b>{host?.name ?? 'The host'}</b> has joined.
            </Text>
            {host !== undefined && <HostStateBadge state={host.state} />}
          </Group>
        ) : (
          <Group gap="xs">
            <Loader size="xs" role="presentation" />
            <Text size="sm">Waiting for the host to join…</Text>
          </Group>
        )}
      </div>
      <Group justify="flex-end">
        <Button variant={token?.usedAt ? 'filled' : 'default'} onClick={onClose}>
          {token?.usedAt ? 'Done' : 'Close'}
        </Button>
      </Group>
      {!token?.usedAt && (
        <Text size="xs" c="dimmed">
          It can be closed: the host appears in the list all the same.
        </Text>
      )}
    </Stack>
  );
}
