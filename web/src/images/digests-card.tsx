import { Button, Group, Stack, Text } from '@mantine/core';
import { useMutation } from '@tanstack/react-query';
import type { ImageResource } from '../../../src/contract/api/image.ts';
import { calls, type FlatDigest } from '../api/calls.ts';
import { CopyLine } from '../parts/copy-line.tsx';
import { ProblemNote } from '../parts/problem-note.tsx';
import { Section } from '../parts/section.tsx';

const flat: readonly FlatDigest[] = ['sha256', 'sha512', 'md5'];

/** Known digests to copy; the others can be computed by a Task. */
export function DigestsCard({ image }: { readonly image: ImageResource }) {
  const compute = useMutation({ mutationFn: (algorithm: FlatDigest) => calls.digestImage(image.id, algorithm) });
  const missing = flat.filter((algorithm) => !image.digests.some((digest) => digest.startsWith(`${algorithm}:`)));
  return (
    <Section title="Digests">
      <Stack gap="xs">
        {image.digests.length === 0 && (
          <Text size="sm" c="dimmed">
            Known once all bytes have arrived.
          </Text>
        )}
        {image.digests.map((digest) => (
          <CopyLine key={digest} text={digest} what={`the ${digest.split(':')[0]} digest`} />
        ))}
        {image.state === 'ready' && missing.length > 0 && (
          <Group gap="xs">
            {missing.map((algorithm) => (
              <Button
                key={algorithm}
                size="xs"
                variant="default"
                loading={compute.isPending && compute.variables === algorithm}
                onClick={() => compute.mutate(algorithm)}
              >
                Compute {algorithm}
              </Button>
            ))}
          </Group>
        )}
        <Text size="sm" c="dimmed" role="status">
          {compute.isSuccess && 'It is being computed (see Tasks) and appears here.'}
        </Text>
        {compute.error !== null && <ProblemNote error={compute.error} />}
      </Stack>
    </Section>
  );
}
