import { Button, Group, Select, Stack, Text } from '@mantine/core';
import { useDebouncedValue } from '@mantine/hooks';
import { useInfiniteQuery, useQuery } from '@tanstack/react-query';
import { type FormEvent, useState } from 'react';
import { queries } from '../api/queries.ts';
import { anyPlace, isPlacement } from '../images/placement-fields.tsx';
import { formatBytes } from '../parts/numbers.ts';
import { ProblemNote } from '../parts/problem-note.tsx';
import { NameField } from './name-field.tsx';
import { PlacementPart } from './placement-part.tsx';
import { useCreate } from './use-create.ts';

interface CloneFormProps {
  readonly of?: string;
  readonly name?: string;
  readonly onClose: () => void;
}

/** Another Image with the same bytes, with a life of its own. */
export function CloneForm({ onClose, ...begin }: CloneFormProps) {
  const [of, setOf] = useState<string | null>(begin.of ?? null);
  const [name, setName] = useState(begin.name);
  const [placement, setPlacement] = useState(anyPlace);
  const [storeId, setStoreId] = useState<string>();
  const create = useCreate(onClose);
  const offers = useReadyImages(begin.of);
  const source = offers.images.find((image) => image.id === of);
  const shownName = name ?? (source === undefined ? '' : `${source.name} (clone)`);
  const submit = (event: FormEvent) => {
    event.preventDefault();
    if (of === null) return;
    create.mutate({
      name: shownName.trim(),
      origin: { kind: 'clone', imageId: of },
      placement: { ...placement },
      ...(storeId === undefined ? {} : { storeId }),
    });
  };
  return (
    <form onSubmit={submit}>
      <Stack>
        <Text size="sm" c="dimmed">
          The hosts copy it among themselves; the clone stays when its source is deleted.
        </Text>
        <Select
          label="Image to clone"
          placeholder="Type a part of its name"
          searchable
          data={offers.images.map((image) => ({
            value: image.id,
            label: `${image.name} · ${formatBytes(image.size)} · ${image.id.slice(0, 8)}`,
          }))}
          value={of}
          onChange={setOf}
          onSearchChange={offers.search}
          nothingFoundMessage="No ready Image has this in its name"
          data-autofocus
        />
        <NameField label="Name of the clone" name={shownName} onName={setName} />
        <PlacementPart placement={placement} onPlacement={setPlacement} storeId={storeId} onStore={setStoreId} />
        {create.error !== null && <ProblemNote error={create.error} />}
        <Group justify="flex-end">
          <Button variant="default" onClick={onClose}>
            Cancel
          </Button>
          <Button
            type="submit"
            disabled={of === null || shownName.trim() === '' || !isPlacement(placement)}
            loading={create.isPending}
          >
            Clone it
          </Button>
        </Group>
      </Stack>
    </form>
  );
}

/** Ready Images by what was typed, and the one that the form was opened for. */
function useReadyImages(chosen: string | undefined) {
  const [typed, search] = useState('');
  // The label of a chosen one lands in the field too: its name is what can be searched for.
  const [text] = useDebouncedValue(typed.split(' · ')[0] ?? '', 250);
  const found = useInfiniteQuery(queries.images(text)).data?.pages.flatMap((page) => page.items) ?? [];
  const own = useQuery({ ...queries.image(chosen ?? ''), enabled: chosen !== undefined }).data;
  const all = own === undefined || found.some((image) => image.id === own.id) ? found : [own, ...found];
  return { images: all.filter((image) => image.state === 'ready'), search };
}
