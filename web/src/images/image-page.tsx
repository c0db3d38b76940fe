import { Button, Center, Grid, Group, Loader, Stack, Text } from '@mantine/core';
import { IconArrowLeft, IconUpload } from '@tabler/icons-react';
import { useQuery } from '@tanstack/react-query';
import { getRouteApi, Link } from '@tanstack/react-router';
import type { ImageResource } from '../../../src/contract/api/image.ts';
import { queries } from '../api/queries.ts';
import { Bar } from '../parts/bar.tsx';
import { percent } from '../parts/numbers.ts';
import { PageHead } from '../parts/page-head.tsx';
import { ProblemNote } from '../parts/problem-note.tsx';
import { Section } from '../parts/section.tsx';
import { ImageStateBadge } from '../parts/state-badge.tsx';
import { openCreateDialog } from '../uploads/create-dialog.ts';
import { ChunkMap } from './chunk-map.tsx';
import { CopiesCard } from './copies-card.tsx';
import { DigestsCard } from './digests-card.tsx';
import { ExtentMap } from './extent-map.tsx';
import { FetchCard } from './fetch-card.tsx';
import { ImageActions } from './image-actions.tsx';
import { doneBytesOf } from './image-table.tsx';
import { SizesCard } from './sizes-card.tsx';

const route = getRouteApi('/images/$imageId');

export function ImagePage() {
  const { imageId } = route.useParams();
  const image = useQuery(queries.image(imageId));
  return (
    <>
      <Button
        renderRoot={(props) => <Link to="/images" search={{}} {...props} />}
        variant="subtle"
        size="compact-sm"
        mb="xs"
        leftSection={<IconArrowLeft size={16} aria-hidden="true" />}
      >
        Images
      </Button>
      {image.data === undefined && <PageHead title="Image" />}
      {image.error !== null && <ProblemNote error={image.error} onRetry={() => void image.refetch()} />}
      {image.isPending && (
        <Center p="xl">
          <Loader aria-label="Loading the Image" />
        </Center>
      )}
      {image.data !== undefined && <Detail image={image.data} />}
    </>
  );
}

function Detail({ image }: { readonly image: ImageResource }) {
  const receiving = image.state === 'pending' || image.state === 'in-progress';
  const ready = image.state === 'ready';
  return (
    <>
      <PageHead title={image.name}>
        <ImageActions image={image} />
      </PageHead>
      <Stack gap="md">
        <StateCard image={image} />
        {receiving && image.uploadId !== null && (
          <Section title="Received so far">
            <ChunkMap uploadId={image.uploadId} size={image.declaredSize} />
          </Section>
        )}
        {ready && (
          <Section title="Where the data lies">
            <ExtentMap imageId={image.id} />
          </Section>
        )}
        <Grid gap="md">
          <Grid.Col span={{ base: 12, lg: 6 }}>
            <SizesCard image={image} />
          </Grid.Col>
          <Grid.Col span={{ base: 12, lg: 6 }}>
            <CopiesCard copies={image.copies} />
          </Grid.Col>
        </Grid>
        <DigestsCard image={image} />
        {ready && <FetchCard image={image} />}
      </Stack>
    </>
  );
}

function StateCard({ image }: { readonly image: ImageResource }) {
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
        {image.state === 'failed' && (
          <Button
            leftSection={<IconUpload size={16} aria-hidden="true" />}
            onClick={() => openCreateDialog([], { imageId: image.id, name: image.name })}
          >
            Retry Upload
          </Button>
        )}
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

const stateText: Record<ImageResource['state'], string> = {
  pending: 'Nothing has arrived yet.',
  'in-progress': 'Bytes are arriving.',
  verifying: 'All bytes are here; the expected digest is being computed.',
  ready: 'Whole, checked, and unchangeable from now on.',
  failed: 'It did not arrive. Upload it again.',
  deleted: 'It was deleted.',
};
