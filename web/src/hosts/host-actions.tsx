import { Checkbox, Menu, Stack, Text } from '@mantine/core';
import {
  IconArrowBackUp,
  IconPlayerPlay,
  IconPlugX,
  IconTags,
  IconTrash,
  IconTruckDelivery,
} from '@tabler/icons-react';
import { useMutation, useQueryClient } from '@tanstack/react-query';
import { useState } from 'react';
import type { HostResource } from '../../../src/contract/api/host.ts';
import { calls, type PlaceChange } from '../api/calls.ts';
import { complain } from '../parts/complain.ts';
import { Confirm } from '../parts/confirm.tsx';
import { counted } from '../parts/numbers.ts';
import { PlaceMenu } from '../parts/place-menu.tsx';
import { TagsDialog } from '../parts/tags.tsx';

type Asked = 'disable' | 'drain' | 'tags' | 'remove';

/** What an administrator may do with a Host. What others will feel is asked for first. */
export function HostActions({ host }: { readonly host: HostResource }) {
  const [asked, setAsked] = useState<Asked>();
  const client = useQueryClient();
  const change = useMutation({
    mutationFn: (part: PlaceChange) => calls.changeHost(host.id, part),
    onSuccess: () => client.invalidateQueries({ queryKey: ['hosts'] }),
  });
  const close = () => {
    setAsked(undefined);
    change.reset();
  };
  const ask = (part: PlaceChange) => change.mutate(part, { onSuccess: close });
  const now = (part: PlaceChange) => change.mutate(part, { onError: complain });
  return (
    <>
      <PlaceMenu label={`Actions on ${host.name}`}>
        {host.enabled ? (
          <Menu.Item leftSection={<IconPlugX size={16} aria-hidden="true" />} onClick={() => setAsked('disable')}>
            Disable
          </Menu.Item>
        ) : (
          <Menu.Item
            leftSection={<IconPlayerPlay size={16} aria-hidden="true" />}
            onClick={() => now({ enabled: true })}
          >
            Enable
          </Menu.Item>
        )}
        {host.evicting ? (
          <Menu.Item
            leftSection={<IconArrowBackUp size={16} aria-hidden="true" />}
            onClick={() => now({ evicting: false })}
          >
            Take the draining back
          </Menu.Item>
        ) : (
          <Menu.Item leftSection={<IconTruckDelivery size={16} aria-hidden="true" />} onClick={() => setAsked('drain')}>
            Drain
          </Menu.Item>
        )}
        <Menu.Item leftSection={<IconTags size={16} aria-hidden="true" />} onClick={() => setAsked('tags')}>
          Edit tags
        </Menu.Item>
        <Menu.Item leftSection={<IconTrash size={16} aria-hidden="true" />} onClick={() => setAsked('remove')}>
          Remove
        </Menu.Item>
      </PlaceMenu>
      <Confirm
        opened={asked === 'disable'}
        title={`Disable ${host.name}?`}
        action="Disable"
        tone="plain"
        refusal="Leave it"
        busy={change.isPending}
        error={change.error}
        onConfirm={() => ask({ enabled: false })}
        onClose={close}
      >
        Nothing new is placed there. What it has stays and can be read; what arrives now is finished. Enable it at any
        time.
      </Confirm>
      <Confirm
        opened={asked === 'drain'}
        title={`Drain ${host.name}?`}
        action="Drain"
        tone="plain"
        refusal="Leave it"
        busy={change.isPending}
        error={change.error}
        onConfirm={() => ask({ evicting: true })}
        onClose={close}
      >
        Its {counted(host.copyCount, 'Copy is', 'Copies are')} made anew on other hosts first and removed here then, and
        nothing new comes to it. Everything stays readable meanwhile. It can be taken back.
      </Confirm>
      <TagsDialog
        opened={asked === 'tags'}
        title={`Tags of ${host.name}`}
        tags={host.tags}
        save={(tags) => change.mutateAsync({ tags })}
        onClose={close}
      />
      {asked === 'remove' && <RemoveHost host={host} onClose={close} />}
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
