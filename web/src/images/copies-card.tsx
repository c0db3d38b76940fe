import { Group, Stack, Text } from '@mantine/core';
import type { ImageResource } from '../../../src/contract/api/image.ts';
import { formatBytes } from '../parts/numbers.ts';
import { Section } from '../parts/section.tsx';
import { CopyStateBadge } from '../parts/state-badge.tsx';

/** One line for each Store that has it. */
export function CopiesCard({ copies }: { readonly copies: ImageResource['copies'] }) {
  return (
    <Section title={copies.length === 1 ? 'Copy' : 'Copies'}>
      {copies.length === 0 && <Text size="sm">No Store has a Copy.</Text>}
      <Stack component="ul" gap="sm" p={0} m={0} style={{ listStyle: 'none' }}>
        {copies.map((copy) => (
          <li key={copy.id}>
            <Group justify="space-between" gap="xs">
              <Group gap="xs">
                <Text fw={600}>{copy.storeName}</Text>
                <CopyStateBadge state={copy.state} />
              </Group>
              <Text size="sm" c="dimmed">
                {copy.storedSize === null
                  ? `${formatBytes(copy.doneBytes)} so far`
                  : `takes ${formatBytes(copy.storedSize)}`}
              </Text>
            </Group>
            {copy.status !== '' && (
              <Text size="sm" c="dimmed" className="h-break">
                {copy.status}
              </Text>
            )}
          </li>
        ))}
      </Stack>
    </Section>
  );
}
