import { Menu } from '@mantine/core';
import { IconArrowBackUp, IconPlayerPlay, IconPlugX, IconTags, IconTruckDelivery } from '@tabler/icons-react';
import { useMutation, useQueryClient } from '@tanstack/react-query';
import { useState } from 'react';
import type { StoreResource } from '../../../src/contract/api/store.ts';
import { calls, type PlaceChange } from '../api/calls.ts';
import { complain } from '../parts/complain.ts';
import { Confirm } from '../parts/confirm.tsx';
import { PlaceMenu } from '../parts/place-menu.tsx';
import { TagsDialog } from '../parts/tags.tsx';

/** What an administrator may do with a Store. */
export function StoreActions({ store }: { readonly store: StoreResource }) {
  const [asked, setAsked] = useState<'disable' | 'evict' | 'tags'>();
  const client = useQueryClient();
  const change = useMutation({
    mutationFn: (part: PlaceChange) => calls.changeStore(store.id, part),
    onSuccess: () => client.invalidateQueries({ queryKey: ['stores'] }),
  });
  const close = () => {
    setAsked(undefined);
    change.reset();
  };
  const ask = (part: PlaceChange) => change.mutate(part, { onSuccess: close });
  const now = (part: PlaceChange) => change.mutate(part, { onError: complain });
  return (
    <>
      <PlaceMenu label={`Actions on ${store.name} on ${store.hostName}`}>
        {store.enabled ? (
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
        {store.evicting ? (
          <Menu.Item
            leftSection={<IconArrowBackUp size={16} aria-hidden="true" />}
            onClick={() => now({ evicting: false })}
          >
            Take the evicting back
          </Menu.Item>
        ) : (
          <Menu.Item leftSection={<IconTruckDelivery size={16} aria-hidden="true" />} onClick={() => setAsked('evict')}>
            Evict
          </Menu.Item>
        )}
        <Menu.Item leftSection={<IconTags size={16} aria-hidden="true" />} onClick={() => setAsked('tags')}>
          Edit tags
        </Menu.Item>
      </PlaceMenu>
      <Confirm
        opened={asked === 'disable'}
        title={`Disable ${store.name}?`}
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
        opened={asked === 'evict'}
        title={`Evict ${store.name}?`}
        action="Evict"
        tone="plain"
        refusal="Leave it"
        busy={change.isPending}
        error={change.error}
        onConfirm={() => ask({ evicting: true })}
        onClose={close}
      >
        Its Copies are made anew on other Stores first and removed here then, and nothing new comes to it. Everything
        stays readable meanwhile. It can be taken back.
      </Confirm>
      <TagsDialog
        opened={asked === 'tags'}
        title={`Tags of ${store.name}`}
        tags={store.tags}
        save={(tags) => change.mutateAsync({ tags })}
        onClose={close}
      />
    </>
  );
}
