import { Center, Group, Loader, Stack, Switch, Text, Title } from '@mantine/core';
import { notifications } from '@mantine/notifications';
import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query';
import type { StoreResource } from '../../../src/contract/api/store.ts';
import { toHawserError } from '../../../src/core/errors.ts';
import { calls } from '../api/calls.ts';
import { queries } from '../api/queries.ts';
import { formatBytes } from '../parts/numbers.ts';
import { PageHead } from '../parts/page-head.tsx';
import { ProblemNote } from '../parts/problem-note.tsx';
import { StoreStateBadge } from '../parts/state-badge.tsx';
import { When } from '../parts/when.tsx';
import classes from './stores-page.module.css';

export function StoresPage() {
  const stores = useQuery(queries.stores());
  return (
    <>
      <PageHead title="Stores" />
      {stores.error !== null && <ProblemNote error={stores.error} onRetry={() => void stores.refetch()} />}
      {stores.isPending && (
        <Center p="xl">
          <Loader aria-label="Loading Stores" />
        </Center>
      )}
      <Stack gap="md">
        {stores.data?.items.map((store) => (
          <StoreCard key={store.id} store={store} />
        ))}
      </Stack>
    </>
  );
}

function StoreCard({ store }: { readonly store: StoreResource }) {
  const client = useQueryClient();
  const enable = useMutation({
    mutationFn: (enabled: boolean) => calls.enableStore(store.id, enabled),
    onSuccess: () => client.invalidateQueries({ queryKey: ['stores'] }),
    onError: (error) =>
      notifications.show({ title: 'That did not work', message: toHawserError(error).message, color: 'red' }),
  });
  return (
    <section className="h-card" style={{ padding: 16 }} aria-label={`Store ${store.name}`}>
      <Group justify="space-between" mb="sm">
        <Group gap="sm">
          <Title order={2} size="h4">
            {store.name}
          </Title>
          <StoreStateBadge state={store.state} />
        </Group>
        <Switch
          label={store.enabled ? 'New Images may go here' : 'Takes no new Images'}
          checked={store.enabled}
          disabled={enable.isPending}
          onChange={(event) => enable.mutate(event.currentTarget.checked)}
        />
      </Group>
      <Capacity store={store} />
      {store.status !== '' && (
        <Text size="sm" mt="sm" className="h-break">
          {store.status}
        </Text>
      )}
      <Text size="sm" c="dimmed" mt="xs">
        {store.driver} on {store.hostName} · seen <When at={store.seenAt} />
      </Text>
    </section>
  );
}

function Capacity({ store }: { readonly store: StoreResource }) {
  const { capacity, free, reserved } = store;
  const used = Math.max(0, capacity - free);
  const left = Math.max(0, free - reserved);
  const share = (bytes: number) => `${capacity > 0 ? (bytes / capacity) * 100 : 0}%`;
  const text = `${formatBytes(used)} used, ${formatBytes(reserved)} reserved, ${formatBytes(left)} free of ${formatBytes(capacity)}`;
  return (
    <>
      <div className={classes.bar} role="img" aria-label={text}>
        <span style={{ width: share(used), background: 'var(--h-data)' }} />
        <span style={{ width: share(Math.min(reserved, free)), background: 'var(--h-zero)' }} />
      </div>
      <Group gap="lg" mt="xs">
        <Part colour="--h-data" label="Used" bytes={used} />
        <Part colour="--h-zero" label="Reserved for uploads" bytes={reserved} />
        <Part colour="--h-missing" label="Free" bytes={left} />
        <Text size="sm" c="dimmed">
          of {formatBytes(capacity)}
        </Text>
      </Group>
    </>
  );
}

function Part({ colour, label, bytes }: { readonly colour: string; readonly label: string; readonly bytes: number }) {
  return (
    <Text size="sm">
      <span className="h-legend" style={{ background: `var(${colour})` }} />
      {label} <b>{formatBytes(bytes)}</b>
    </Text>
  );
}
