import { Group, Stack, Table, Text } from '@mantine/core';
import { Link } from '@tanstack/react-router';
import type { ImageResource } from '../../../src/contract/api/image.ts';
import { Bar } from '../parts/bar.tsx';
import { formatBytes, percent } from '../parts/numbers.ts';
import { ImageStateBadge } from '../parts/state-badge.tsx';
import { useNarrow } from '../parts/use-narrow.ts';
import { When } from '../parts/when.tsx';

/** A table where there is room, cards on a narrow screen. */
export function ImageTable({ images }: { readonly images: readonly ImageResource[] }) {
  return useNarrow() ? <Cards images={images} /> : <Wide images={images} />;
}

function Wide({ images }: { readonly images: readonly ImageResource[] }) {
  return (
    <div className="h-card">
      <Table className="h-table" highlightOnHover verticalSpacing="sm" aria-label="Images">
        <Table.Thead>
          <Table.Tr>
            <Table.Th>Name</Table.Th>
            <Table.Th>State</Table.Th>
            <Table.Th>Format</Table.Th>
            <Table.Th className="h-num">Size</Table.Th>
            <Table.Th>Created</Table.Th>
          </Table.Tr>
        </Table.Thead>
        <Table.Tbody>
          {images.map((image) => (
            <Table.Tr key={image.id}>
              <Table.Td className="h-break" maw={420}>
                <NameLink image={image} />
              </Table.Td>
              <Table.Td w={230}>
                <StateOf image={image} />
              </Table.Td>
              <Table.Td>{image.format}</Table.Td>
              <Table.Td className="h-num">{formatBytes(image.size ?? image.declaredSize)}</Table.Td>
              <Table.Td>
                <When at={image.createdAt} />
              </Table.Td>
            </Table.Tr>
          ))}
        </Table.Tbody>
      </Table>
    </div>
  );
}

function Cards({ images }: { readonly images: readonly ImageResource[] }) {
  return (
    <Stack component="ul" gap="sm" p={0} m={0} style={{ listStyle: 'none' }} aria-label="Images">
      {images.map((image) => (
        <li key={image.id} className="h-card" style={{ padding: 14 }}>
          <NameLink image={image} />
          <Group gap="xs" mt={6} justify="space-between">
            <StateOf image={image} />
            <Text size="sm" c="dimmed">
              {image.format} · {formatBytes(image.size ?? image.declaredSize)} · <When at={image.createdAt} />
            </Text>
          </Group>
        </li>
      ))}
    </Stack>
  );
}

function NameLink({ image }: { readonly image: ImageResource }) {
  return (
    <Link
      to="/images/$imageId"
      params={{ imageId: image.id }}
      className="h-break"
      style={{ fontWeight: 600, color: 'var(--mantine-color-anchor)' }}
    >
      {image.name}
    </Link>
  );
}

function StateOf({ image }: { readonly image: ImageResource }) {
  if (image.state !== 'in-progress' && image.state !== 'pending') return <ImageStateBadge state={image.state} />;
  const done = doneBytesOf(image);
  const share = percent(done, image.declaredSize);
  return (
    <Group gap="xs" wrap="nowrap">
      <ImageStateBadge state={image.state} />
      <div style={{ flex: 1, minWidth: 60 }}>
        <Bar label={`${image.name} received`} done={done} total={image.declaredSize} />
      </div>
      <Text size="xs" c="dimmed" w={34} ta="right">
        {share === undefined ? '' : `${share} %`}
      </Text>
    </Group>
  );
}

/** The furthest Copy counts. */
export function doneBytesOf(image: ImageResource): number {
  return Math.max(0, ...image.copies.map((copy) => copy.doneBytes));
}
