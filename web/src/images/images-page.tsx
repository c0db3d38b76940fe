import { Button, Center, Group, Loader, Stack, Text, TextInput, Title } from '@mantine/core';
import { useDebouncedCallback } from '@mantine/hooks';
import { IconPlus, IconSearch } from '@tabler/icons-react';
import { useInfiniteQuery } from '@tanstack/react-query';
import { getRouteApi } from '@tanstack/react-router';
import { queries } from '../api/queries.ts';
import { PageHead } from '../parts/page-head.tsx';
import { ProblemNote } from '../parts/problem-note.tsx';
import { Moored } from '../parts/rope.tsx';
import { openCreateDialog } from '../uploads/create-dialog.ts';
import { ImageTable } from './image-table.tsx';

const route = getRouteApi('/images');

export function ImagesPage() {
  const { search = '' } = route.useSearch();
  const navigate = route.useNavigate();
  const images = useInfiniteQuery(queries.images(search));
  const items = images.data?.pages.flatMap((page) => page.items) ?? [];
  const look = useDebouncedCallback((text: string) => {
    void navigate({ search: text === '' ? {} : { search: text }, replace: true });
  }, 250);
  return (
    <>
      <PageHead title="Images">
        <Button leftSection={<IconPlus size={18} aria-hidden="true" />} onClick={() => openCreateDialog()}>
          Create image
        </Button>
      </PageHead>
      <TextInput
        type="search"
        aria-label="Search Images by name"
        placeholder="Search by name"
        defaultValue={search}
        onChange={(event) => look(event.currentTarget.value)}
        leftSection={<IconSearch size={16} aria-hidden="true" />}
        maw={360}
        mb="md"
      />
      {images.error !== null && <ProblemNote error={images.error} onRetry={() => void images.refetch()} />}
      {images.isPending && (
        <Center p="xl">
          <Loader aria-label="Loading Images" />
        </Center>
      )}
      {items.length > 0 && <ImageTable images={items} />}
      {images.data !== undefined &&
        items.length === 0 &&
        (search === '' ? <NothingYet /> : <NothingFound search={search} />)}
      {images.hasNextPage && (
        <Center mt="md">
          <Button variant="default" loading={images.isFetchingNextPage} onClick={() => void images.fetchNextPage()}>
            Show more
          </Button>
        </Center>
      )}
    </>
  );
}

function NothingYet() {
  return (
    <Stack className="h-card" align="center" p={{ base: 'lg', sm: 48 }} ta="center" gap="sm">
      <Moored />
      <Title order={2} size="h3">
        Bring your first image in
      </Title>
      <Text c="dimmed" maw={480}>
        Drop a disk image anywhere on this page, however large. You can close the lid, lose the network or reload: it
        goes on where it stopped, and arrives whole.
      </Text>
      <Group>
        <Button size="md" onClick={() => openCreateDialog()}>
          Choose a file
        </Button>
      </Group>
    </Stack>
  );
}

function NothingFound({ search }: { readonly search: string }) {
  return (
    <Text role="status" c="dimmed" p="md">
      No Image has “{search}” in its name.
    </Text>
  );
}
