import { Button, Group, Text } from '@mantine/core';
import { IconUpload, IconWorldDownload } from '@tabler/icons-react';
import type { ImageResource } from '../../../src/contract/api/image.ts';
import { Bar } from '../parts/bar.tsx';
import { percent } from '../parts/numbers.ts';
import { ImageStateBadge } from '../parts/state-badge.tsx';
import { openCreateDialog, openImportDialog } from '../uploads/create-dialog.ts';
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

function Again({ image }: { readonly image: ImageResource }) {
  const { source } = image;
  return (
    <Group gap="xs">
      {source.kind === 'url' && (
        <Button
          variant="default"
          leftSection={<IconWorldDownload size={16} aria-hidden="true" />}
          onClick={() => openImportDialog({ url: source.url, name: image.name })}
        >
          Download anew
        </Button>
      )}
      <Button
        leftSection={<IconUpload size={16} aria-hidden="true" />}
        onClick={() => openCreateDialog([], { imageId: image.id, name: image.name })}
      >
        Retry Upload
      </Button>
    </Group>
  );
}

const stateText: Record<ImageResource['state'], string> = {
  pending: 'Nothing has arrived yet.',
  'in-progress': 'Bytes are arriving.',
  verifying: 'All bytes are here; the expected digest is being computed.',
  ready: 'Whole, checked, and unchangeable from now on.',
  failed: 'It did not arrive. Upload it again.',
  deleted: 'It was deleted.',
};
