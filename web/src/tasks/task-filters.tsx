import { Group, NativeSelect, TextInput } from '@mantine/core';
import { useDebouncedCallback } from '@mantine/hooks';
import { IconSearch } from '@tabler/icons-react';
import { RUNNING_STATES } from '../api/queries.ts';

interface Filter {
  readonly state?: string | undefined;
  readonly kind?: string | undefined;
  readonly search?: string | undefined;
}

interface TaskFiltersProps {
  readonly filter: Filter;
  readonly onChange: (filter: Filter) => void;
}

const states = [
  { value: '', label: 'Any state' },
  { value: RUNNING_STATES, label: 'Not ended' },
  { value: 'RUNNING', label: 'Running' },
  { value: 'PAUSED,HALTED', label: 'Paused' },
  { value: 'SUCCESS', label: 'Done' },
  { value: 'FAILURE', label: 'Failed' },
  { value: 'CANCELLED', label: 'Cancelled' },
];
const kinds = [
  { value: '', label: 'Any kind' },
  { value: 'upload', label: 'Upload' },
  { value: 'download', label: 'Download from a URL' },
  { value: 'clone', label: 'Clone' },
  { value: 'replicate', label: 'Copy to another Store' },
  { value: 'verify', label: 'Verify' },
  { value: 'digest', label: 'Digest' },
];

/** The filters are the address: a link to this page keeps them. */
export function TaskFilters({ filter, onChange }: TaskFiltersProps) {
  const look = useDebouncedCallback((search: string) => onChange({ ...filter, search: search || undefined }), 250);
  return (
    <Group mb="md" gap="sm" role="search" aria-label="Filter Tasks">
      <NativeSelect
        aria-label="State"
        data={states}
        value={filter.state ?? ''}
        onChange={(event) => onChange({ ...filter, state: event.currentTarget.value || undefined })}
      />
      <NativeSelect
        aria-label="Kind"
        data={kinds}
        value={filter.kind ?? ''}
        onChange={(event) => onChange({ ...filter, kind: event.currentTarget.value || undefined })}
      />
      <TextInput
        type="search"
        aria-label="Search Tasks by the name of the Image"
        placeholder="Name of the Image"
        defaultValue={filter.search ?? ''}
        onChange={(event) => look(event.currentTarget.value)}
        leftSection={<IconSearch size={16} aria-hidden="true" />}
      />
    </Group>
  );
}
