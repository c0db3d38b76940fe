import { Button, Center, Grid, Loader, Stack } from '@mantine/core';
import { IconArrowLeft } from '@tabler/icons-react';
import { useQuery } from '@tanstack/react-query';
import { getRouteApi, Link } from '@tanstack/react-router';
import type { ImageResource } from '../../../src/contract/api/image.ts';
import { queries } from '../api/queries.ts';
import { PageHead } from '../parts/page-head.tsx';
import { ProblemNote } from '../parts/problem-note.tsx';
import { Section } from '../parts/section.tsx';
import { ChunkMap } from './chunk-map.tsx';
import { CopiesCard } from './copies-card.tsx';
import { DigestsCard } from './digests-card.tsx';
import { ExtentMap } from './extent-map.tsx';
import { FetchCard } from './fetch-card.tsx';
import { ImageActions } from './image-actions.tsx';
import { SizesCard } from './sizes-card.tsx';
import { StateCard } from './state-card.tsx';

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
            <CopiesCard image={image} />
          </Grid.Col>
        </Grid>
        <DigestsCard image={image} />
        {ready && <FetchCard image={image} />}
      </Stack>
    </>
  );
}
