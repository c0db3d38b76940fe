import { Checkbox, Menu, Stack, Text } from '@mantine/core';
import { IconTrash } from '@tabler/icons-react';
import { useMutation, useQueryClient } from '@tanstack/react-query';
import { useState } from 'react';
import type { HostResource } from '../../../src/contract/api/host.ts';
import { calls } from '../api/calls.ts';
import { Confirm } from '../parts/confirm.tsx';
import { counted } from '../parts/numbers.ts';
import { PlaceActions } from '../parts/place-actions.tsx';

/** What an administrator may do with a Host. */
export function HostActions({ host }: { readonly host: HostResource }) {
  const [removing, setRemoving] = useState(false);
  const copies = counted(host.copyCount, 'Copy is', 'Copies are');
  return (
    <>
      <PlaceActions
        place={host}
        called={host.name}
        emptying={{
          action: 'Drain',
          takeBack: 'Take the draining back',
          means: `Its ${copies} made anew on other hosts first and removed here then, and nothing new comes to it.`,
        }}
        change={(part) => calls.changeHost(host.id, part)}
        queryKey="hosts"
      >
        <Menu.Item leftSection={<IconTrash size={16} aria-hidden="true" />} onClick={() => setRemoving(true)}>
          Remove
        </Menu.Item>
      </PlaceActions>
      {removing && <RemoveHost host={host} onClose={() => setRemoving(false)} />}
    </>
  );
}

function RemoveHost({ host, onClose }: { readonly host: HostResource; readonly onClose: () => void }) {
  const [force, setForce] = useState(false);
  const client = useQueryClient();
  const remove = useMutation({
    mutationFn: () => calls.removeHost(host.id, { force }),
    onSuccess: async () => {
      onClose();
      await client.invalidateQueries({ refetchType: 'active' });
    },
  });
  const holds = host.copyCount > 0 || host.state === 'online';
  return (
    <Confirm
      opened
      title={`Remove ${host.name}?`}
      action="Remove the host"
      held={holds && !force}
      busy={remove.isPending}
      error={remove.error}
      onConfirm={() => remove.mutate()}
      onClose={onClose}
    >
      <Stack gap="sm">
        <Text size="sm">
          <b>{host.name}</b> and its Stores are taken out of the list. Its files stay on its disks, and its agent is not
          let in again without a new token.
        </Text>
        {holds && (
          <>
            <Text size="sm">{whyNot(host)}</Text>
            <Checkbox
              label={`Remove it all the same: its ${counted(host.copyCount, 'Copy is', 'Copies are')} lost, and so is each Image that has no other Copy`}
              checked={force}
              onChange={(event) => setForce(event.currentTarget.checked)}
            />
          </>
        )}
      </Stack>
    </Confirm>
  );
}

function whyNot(host: HostResource): string {
  const copies = counted(host.copyCount, 'Copy', 'Copies');
  if (host.copyCount === 0) return 'It is online. Stop its agent first.';
  if (host.state === 'online') return `It is online and has ${copies}. Drain it first, then stop its agent.`;
  return `It has ${copies}. Bring it back and drain it, if you can.`;
}
