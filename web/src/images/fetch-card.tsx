import { Stack, Text } from '@mantine/core';
import type { ImageResource } from '../../../src/contract/api/image.ts';
import { apiPath } from '../api/http.ts';
import { CopyLine } from '../parts/copy-line.tsx';
import { Section } from '../parts/section.tsx';

/** Lines to copy into a terminal. */
export function FetchCard({ image }: { readonly image: ImageResource }) {
  const url = new URL(apiPath(`/images/${image.id}/data`), location.origin);
  const file = shellQuote(image.name.replaceAll('/', '_'));
  return (
    <Section title="Fetch it in a terminal">
      <Stack gap="xs">
        <CopyLine
          what="the curl line"
          text={`curl --fail --location --continue-at - --header "Authorization: Bearer $HAWSER_TOKEN" --output ${file} ${url}`}
        />
        <CopyLine what="the hawser line" text={`hawser download ${image.id} ${file}`} />
        <Text size="sm" c="dimmed">
          Put a token of yours into HAWSER_TOKEN first (Access → Create token). Both go on where they stopped; hawser
          also leaves the holes out.
        </Text>
      </Stack>
    </Section>
  );
}

function shellQuote(text: string): string {
  return /^[\w.+-]+$/.test(text) && !text.startsWith('-') ? text : `'./${text.replaceAll("'", "'\\''")}'`;
}
