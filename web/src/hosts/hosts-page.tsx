import { Button, Stack, Text, Title } from '@mantine/core';
import { IconPlus } from '@tabler/icons-react';
import { useQuery } from '@tanstack/react-query';
import { useState } from 'react';
import { queries } from '../api/queries.ts';
import { useAdmin } from '../login/use-admin.ts';
import { PageHead } from '../parts/page-head.tsx';
import { PlaceList } from '../parts/place-list.tsx';
import { Moored } from '../parts/rope.tsx';
import { AddHost } from './add-host.tsx';
import { HostCard } from './host-card.tsx';
import { JoinTokens } from './join-tokens.tsx';

export function HostsPage() {
  const [adding, setAdding] = useState(false);
  const admin = useAdmin();
  // When it was seen last changes without an event of its own.
  const hosts = useQuery({ ...queries.hosts(), refetchInterval: 10_000 });
  const stores = useQuery({ ...queries.stores(), refetchInterval: 10_000 }).data?.items ?? [];
  const items = hosts.data?.items ?? [];
  return (
    <>
      <PageHead title="Hosts">
        {admin && (
          <Button leftSection={<IconPlus size={18} aria-hidden="true" />} onClick={() => setAdding(true)}>
            Add a host
          </Button>
        )}
      </PageHead>
      <Stack gap="md">
        <PlaceList
          of="Hosts"
          query={hosts}
          items={items}
          card={(host) => <HostCard host={host} stores={stores.filter((store) => store.hostId === host.id)} />}
        />
        {items.length === 1 && <OnlyOne onAdd={admin ? () => setAdding(true) : undefined} />}
        {admin && <JoinTokens />}
      </Stack>
      <AddHost opened={adding} onClose={() => setAdding(false)} />
    </>
  );
}

function OnlyOne({ onAdd }: { readonly onAdd: (() => void) | undefined }) {
  return (
    <Stack className="h-card" align="center" p={{ base: 'lg', sm: 'xl' }} ta="center" gap="sm">
      <Moored />
      <Title order={2} size="h3">
        One host so far
      </Title>
      <Text c="dimmed" maw={560}>
        With a second one an Image can have Copies on both: it outlives the loss of a machine, and a machine can be
        drained for maintenance while everything stays readable. Its Stores add their space, and copies go from host to
        host directly.
      </Text>
      {onAdd && (
        <Button size="md" onClick={onAdd}>
          Add a second host
        </Button>
      )}
    </Stack>
  );
}
