import { Group, Text } from '@mantine/core';
import classes from './capacity.module.css';
import { formatBytes } from './numbers.ts';

interface CapacityProps {
  readonly capacity: number;
  readonly free: number;
  /** Promised to what arrives, of the free space. */
  readonly reserved: number;
}

/** Used, reserved and free, as a bar and in words. */
export function Capacity({ capacity, free, reserved }: CapacityProps) {
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
        <Part colour="--h-zero" label="Reserved" bytes={reserved} />
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
