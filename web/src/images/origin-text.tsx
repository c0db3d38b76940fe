import { Link } from '@tanstack/react-router';
import type { ReactNode } from 'react';
import { shownUrl } from '../../../src/client/url-text.ts';
import type { ImageResource } from '../../../src/contract/api/image.ts';

/** Where its bytes came from. Of a URL the user, the password and the query stay hidden. */
export function originText({ origin, source }: ImageResource): ReactNode {
  if (source.kind === 'url') return `Downloaded from ${shownUrl(source.url)}`;
  if (origin === 'clone' && source.kind === 'copy') {
    return (
      <>
        Clone of{' '}
        <Link
          to="/images/$imageId"
          params={{ imageId: source.imageId }}
          style={{ color: 'var(--mantine-color-anchor)' }}
        >
          another Image
        </Link>
      </>
    );
  }
  return texts[origin];
}

const texts: Record<ImageResource['origin'], string> = {
  upload: 'Uploaded',
  download: 'Downloaded',
  clone: 'Clone of another Image',
  'export-from-volume': 'Exported from a volume',
  restore: 'Restored',
};
