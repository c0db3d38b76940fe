import { NativeSelect } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { queries } from '../api/queries.ts';
import { formatBytes } from '../parts/numbers.ts';

interface StoreSelectProps {
  /** undefined: Hawser chooses. */
  readonly value: string | undefined;
  readonly onChange: (storeId: string | undefined) => void;
  /** Stores that are not offered. */
  readonly without?: readonly string[];
}

/** A Store, or the choice left to Hawser. Where nothing can be placed now is said, and cannot be chosen. */
export function StoreSelect({ value, onChange, without = [] }: StoreSelectProps) {
  const stores = useQuery(queries.stores()).data?.items ?? [];
  const offered = stores.filter((store) => !without.includes(store.id));
  const chosen = offered.find((store) => store.id === value);
  return (
    <NativeSelect
      label="Store"
      value={value ?? ''}
      onChange={(event) => onChange(event.currentTarget.value || undefined)}
      description={chosen === undefined ? 'Hawser chooses one that fits and has room.' : undefined}
      data={[
        { value: '', label: 'Let Hawser choose' },
        ...offered.map(({ free, hostName, id, name, reserved, unschedulable }) => ({
          value: id,
          disabled: unschedulable !== null,
          label:
            unschedulable === null
              ? `${name} on ${hostName}, ${formatBytes(Math.max(0, free - reserved))} free`
              : `${name} on ${hostName}: ${unschedulable}`,
        })),
      ]}
    />
  );
}
