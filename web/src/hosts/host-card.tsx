import { Group, Text, Title } from '@mantine/core';
import type { HostResource } from '../../../src/contract/api/host.ts';
import type { StoreResource } from '../../../src/contract/api/store.ts';
import { useAdmin } from '../login/use-admin.ts';
import { Capacity } from '../parts/capacity.tsx';
import { counted } from '../parts/numbers.ts';
import { HoldBadge, HostStateBadge } from '../parts/state-badge.tsx';
import { Tags } from '../parts/tags.tsx';
import { When } from '../parts/when.tsx';
import { HostActions } from './host-actions.tsx';

interface HostCardProps {
  readonly host: HostResource;
  readonly stores: readonly StoreResource[];
}

export function HostCard({ host, stores }: HostCardProps) {
  const admin = useAdmin();
  const reserved = reservedOf(stores);
  return (
    <section className="h-card" style={{ padding: 16, height: '100%' }} aria-label={`Host ${host.name}`}>
      <Group justify="space-between" mb="sm" wrap="nowrap" align="flex-start">
        <Group gap="xs">
          <Title order={2} size="h4" className="h-break">
            {host.name}
          </Title>
          <HostStateBadge state={host.state} />
          {host.evicting && <HoldBadge hold={host.drained ? 'drained' : 'draining'} />}
          {!host.enabled && <HoldBadge hold="disabled" />}
        </Group>
        {admin && <HostActions host={host} />}
      </Group>
      {host.status !== '' && (
        <Text size="sm" mb="sm" className="h-break" role={host.evicting ? 'status' : undefined}>
          {host.status}
        </Text>
      )}
      {host.drained && (
        <Text size="sm" mb="sm" role="status">
          Nothing is left on it: it can be switched off, or removed.
        </Text>
      )}
      <Capacity capacity={host.capacity} free={host.free} reserved={Math.min(reserved, host.free)} />
      <Text size="sm" c="dimmed" mt="sm" className="h-break">
        {storesText(host, stores)} · {counted(host.copyCount, 'Copy', 'Copies')} · version {host.version} · seen{' '}
        {host.seenAt === null ? 'never' : <When at={host.seenAt} />}
      </Text>
      {host.tags.length > 0 && (
        <Group mt="sm">
          <Tags tags={host.tags} />
        </Group>
      )}
    </section>
  );
}

/** Stores that share a filesystem say the same. */
function reservedOf(stores: readonly StoreResource[]): number {
  const places = new Map(stores.map(({ filesystem, id, reserved }) => [filesystem ?? id, reserved]));
  return [...places.values()].reduce((sum, bytes) => sum + bytes, 0);
}

function storesText(host: HostResource, stores: readonly StoreResource[]): string {
  if (stores.length === 0 || stores.length > 4) return counted(host.storeCount, 'Store', 'Stores');
  return `${stores.length === 1 ? 'Store' : 'Stores'} ${stores.map((store) => store.name).join(', ')}`;
}
