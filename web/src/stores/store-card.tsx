import { Group, Text, Title } from '@mantine/core';
import type { StoreResource } from '../../../src/contract/api/store.ts';
import { useAdmin } from '../login/use-admin.ts';
import { Capacity } from '../parts/capacity.tsx';
import { counted } from '../parts/numbers.ts';
import { HoldBadge, StoreStateBadge } from '../parts/state-badge.tsx';
import { Tags } from '../parts/tags.tsx';
import { When } from '../parts/when.tsx';
import { StoreActions } from './store-actions.tsx';

export function StoreCard({ store }: { readonly store: StoreResource }) {
  const admin = useAdmin();
  return (
    <section
      className="h-card"
      style={{ padding: 16, height: '100%' }}
      aria-label={`Store ${store.name} on ${store.hostName}`}
    >
      <Group justify="space-between" mb="sm" wrap="nowrap" align="flex-start">
        <Group gap="xs">
          <Title order={2} size="h4" className="h-break">
            {store.name}
          </Title>
          <StoreStateBadge state={store.state} />
          {store.evicting && <HoldBadge hold={store.copyCount === 0 ? 'evicted' : 'evicting'} />}
          {!store.enabled && <HoldBadge hold="disabled" />}
        </Group>
        {admin && <StoreActions store={store} />}
      </Group>
      {store.unschedulable !== null && (
        <Text size="sm" mb="sm" className="h-break">
          <b>Nothing new comes here:</b> {store.unschedulable}
        </Text>
      )}
      <Capacity capacity={store.capacity} free={store.free} reserved={store.reserved} />
      {store.status !== '' && (
        <Text size="sm" mt="sm" className="h-break" role={store.evicting ? 'status' : undefined}>
          {store.status}
        </Text>
      )}
      <Text size="sm" c="dimmed" mt="sm" className="h-break">
        {store.driver} on {store.hostName} · {counted(store.copyCount, 'Copy', 'Copies')} · seen{' '}
        {store.seenAt === null ? 'never' : <When at={store.seenAt} />}
      </Text>
      {store.tags.length > 0 && (
        <Group mt="sm">
          <Tags tags={store.tags} />
        </Group>
      )}
    </section>
  );
}
