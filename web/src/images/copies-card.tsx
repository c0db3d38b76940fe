import { Button, Group, Stack, Text } from '@mantine/core';
import { IconAdjustments, IconPlus } from '@tabler/icons-react';
import { useQueries, useQuery } from '@tanstack/react-query';
import { useState } from 'react';
import type { ImageResource } from '../../../src/contract/api/image.ts';
import type { TaskResource } from '../../../src/contract/api/task.ts';
import { queries } from '../api/queries.ts';
import { counted } from '../parts/numbers.ts';
import { Section } from '../parts/section.tsx';
import { AddCopy } from './add-copy.tsx';
import { CopyRow } from './copy-row.tsx';
import { PlacementDialog } from './placement-dialog.tsx';

/** One line for each Store that has it, and what is wanted. */
export function CopiesCard({ image }: { readonly image: ImageResource }) {
  const [dialog, setDialog] = useState<'add' | 'placement'>();
  const { minCopies } = image.placement;
  const ready = image.copies.filter((copy) => copy.state === 'ready').length;
  const byStore = useTasksByStore(image);
  return (
    <Section title={image.copies.length === 1 ? 'Copy' : 'Copies'}>
      {image.copies.length === 0 && <Text size="sm">No Store has a Copy.</Text>}
      <Stack component="ul" gap="md" p={0} m={0} style={{ listStyle: 'none' }}>
        {image.copies.map((copy) => (
          <li key={copy.id}>
            <CopyRow image={image} copy={copy} task={byStore.get(copy.storeId)} />
          </li>
        ))}
      </Stack>
      <Text size="sm" c="dimmed" mt="md" className="h-break">
        {`At least ${counted(minCopies, 'Copy', 'Copies')} wanted`}
        {image.state === 'ready' && ready < minCopies
          ? `, ${ready} ready: the others are made as soon as there is a place`
          : ''}
        {wherePlaced(image.placement)}.
      </Text>
      <Group gap="xs" mt="sm">
        {image.state === 'ready' && (
          <Button
            size="xs"
            variant="default"
            leftSection={<IconPlus size={16} aria-hidden="true" />}
            onClick={() => setDialog('add')}
          >
            Add a copy
          </Button>
        )}
        <Button
          size="xs"
          variant="default"
          leftSection={<IconAdjustments size={16} aria-hidden="true" />}
          onClick={() => setDialog('placement')}
        >
          How many, and where
        </Button>
      </Group>
      <AddCopy image={image} opened={dialog === 'add'} onClose={() => setDialog(undefined)} />
      <PlacementDialog image={image} opened={dialog === 'placement'} onClose={() => setDialog(undefined)} />
    </Section>
  );
}

function wherePlaced({ hostTags, storeTags }: ImageResource['placement']): string {
  const stores = storeTags.length === 0 ? '' : `, on Stores tagged ${storeTags.join(' and ')}`;
  return `${stores}${hostTags.length === 0 ? '' : `, on hosts tagged ${hostTags.join(' and ')}`}`;
}

/** The Task that fills the Copy on a Store: its Upload knows which Store that is. */
function useTasksByStore(image: ImageResource): ReadonlyMap<string, TaskResource> {
  const arriving = image.copies.some((copy) => copy.state === 'pending' || copy.state === 'in-progress');
  const tasks = useQuery({ ...queries.tasksOfImage(image.id), enabled: arriving }).data ?? [];
  const ids = [...new Set(tasks.flatMap((task) => (task.uploadId === null ? [] : [task.uploadId])))];
  const uploads = useQueries({ queries: ids.map((id) => queries.upload(id)) });
  const byStore = new Map<string, TaskResource>();
  for (const { data } of uploads) {
    const task = tasks.find((each) => data !== undefined && each.uploadId === data.id && each.endedAt === null);
    if (data !== undefined && task !== undefined) byStore.set(data.storeId, task);
  }
  return byStore;
}
