import { Menu } from '@mantine/core';
import { IconArrowBackUp, IconPlayerPlay, IconPlugX, IconTags, IconTruckDelivery } from '@tabler/icons-react';
import { useMutation, useQueryClient } from '@tanstack/react-query';
import { type ReactNode, useState } from 'react';
import type { PlaceChange } from '../api/calls.ts';
import { complain } from './complain.ts';
import { Confirm } from './confirm.tsx';
import { PlaceMenu } from './place-menu.tsx';
import { TagsDialog } from './tags.tsx';

interface PlaceActionsProps {
  readonly place: {
    readonly name: string;
    readonly enabled: boolean;
    readonly evicting: boolean;
    readonly tags: readonly string[];
  };
  /** Which one it is, for who hears the button and does not see what it belongs to. */
  readonly called: string;
  /** How it is emptied: what that is called, how it is taken back, and what others will feel. */
  readonly emptying: { readonly action: string; readonly takeBack: string; readonly means: string };
  readonly change: (part: PlaceChange) => Promise<unknown>;
  /** Of the list that shows it. */
  readonly queryKey: 'hosts' | 'stores';
  /** Further items of the menu. */
  readonly children?: ReactNode;
}

/** What an administrator may do with a Host or a Store alike. What others will feel is asked for first. */
export function PlaceActions({ place, called, emptying, queryKey, children, ...props }: PlaceActionsProps) {
  const [asked, setAsked] = useState<'disable' | 'empty' | 'tags'>();
  const client = useQueryClient();
  const change = useMutation({
    mutationFn: props.change,
    onSuccess: () => client.invalidateQueries({ queryKey: [queryKey] }),
  });
  const close = () => {
    setAsked(undefined);
    change.reset();
  };
  const now = (part: PlaceChange) => change.mutate(part, { onError: complain });
  const confirm = (part: PlaceChange) => ({
    tone: 'plain' as const,
    refusal: 'Leave it',
    busy: change.isPending,
    error: change.error,
    onConfirm: () => change.mutate(part, { onSuccess: close }),
    onClose: close,
  });
  return (
    <>
      <PlaceMenu label={`Actions on ${called}`}>
        {place.enabled ? (
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
        {place.evicting ? (
          <Menu.Item
            leftSection={<IconArrowBackUp size={16} aria-hidden="true" />}
            onClick={() => now({ evicting: false })}
          >
            {emptying.takeBack}
          </Menu.Item>
        ) : (
          <Menu.Item leftSection={<IconTruckDelivery size={16} aria-hidden="true" />} onClick={() => setAsked('empty')}>
            {emptying.action}
          </Menu.Item>
        )}
        <Menu.Item leftSection={<IconTags size={16} aria-hidden="true" />} onClick={() => setAsked('tags')}>
          Edit tags
        </Menu.Item>
        {children}
      </PlaceMenu>
      <Confirm
        opened={asked === 'disable'}
        title={`Disable ${place.name}?`}
        action="Disable"
        {...confirm({ enabled: false })}
      >
        Nothing new is placed there. What it has stays and can be read; what arrives now is finished. Enable it at any
        time.
      </Confirm>
      <Confirm
        opened={asked === 'empty'}
        title={`${emptying.action} ${place.name}?`}
        action={emptying.action}
        {...confirm({ evicting: true })}
      >
        {emptying.means} Everything stays readable meanwhile. It can be taken back.
      </Confirm>
      <TagsDialog
        opened={asked === 'tags'}
        title={`Tags of ${place.name}`}
        tags={place.tags}
        save={(tags) => change.mutateAsync({ tags })}
        onClose={close}
      />
    </>
  );
}
