import { Button, Group, Text } from '@mantine/core';
import { IconUpload, IconWorldDownload } from '@tabler/icons-react';
import { useMutation, useQueryClient } from '@tanstack/react-query';
import type { ImageResource } from '../../../src/contract/api/image.ts';
import { calls } from '../api/calls.ts';
import { Bar } from '../parts/bar.tsx';
import { complain } from '../parts/complain.ts';
import { percent } from '../parts/numbers.ts';
import { ImageStateBadge } from '../parts/state-badge.tsx';
import { openCreateDialog } from '../uploads/create-dialog.ts';
import { doneBytesOf } from './image-table.tsx';

/** Where an Image stands and why; a failed one says what to do. */
export function StateCard({ image }: { readonly image: ImageResource }) {
  const done = doneBytesOf(image);
  const share = percent(done, image.declaredSize);
  const receiving = image.state === 'in-progress' || image.state === 'pending';
  return (
    <section className="h-card" style={{ padding: 16 }} aria-label="State">
      <Group gap="sm">
        <ImageStateBadge state={image.state} />
        <Text className="h-break" size="sm" style={{ flex: 1, minWidth: 200 }}>
          {image.status || stateText[image.state]}
        </Text>
        {image.state === 'failed' && <Again image={image} />}
      </Group>
      {receiving && (
        <Group mt="sm" wrap="nowrap">
          <div style={{ flex: 1 }}>
            <Bar label={`${image.name} received`} done={done} total={image.declaredSize} />
          </div>
          <Text size="sm">{share === undefined ? '' : `${share} %`}</Text>
        </Group>
      )}
    </section>
  );
}

/** What a person can do about a failed one: nobody but they has the bytes of an upload. */
function Again({ image }: { readonly image: ImageResource }) {
  const client = useQueryClient();
  const fetch = useMutation({
    mutationFn: () => calls.fetchImage(image.id),
    onSuccess: (changed) => client.setQueryData(['image', image.id], changed),
    onError: complain,
  });
  if (image.source.kind === 'client') {
    return (
      <Button
        leftSection={<IconUpload size={16} aria-hidden="true" />}
        onClick={() => openCreateDialog([], { imageId: image.id, name: image.name })}
      >
        Retry Upload
      </Button>
    );
  }
  return (
    <Button
      leftSection={<IconWorldDownload size={16} aria-hidden="true" />}
      loading={fetch.isPending}
      onClick={() => fetch.mutate()}
    >
      {image.source.kind === 'url' ? 'Download anew' : 'Clone anew'}
    </Button>
  );
}

const stateText: Record<ImageResource['state'], string> = {
  pending: 'Nothing has arrived yet.',
  'in-progress': 'Bytes are arriving.',
  verifying: 'All bytes are here; the expected digest is being computed.',
  ready: 'Whole, checked, and unchangeable from now on.',
  failed: 'It did not arrive.',
  deleted: 'It was deleted.',
};
