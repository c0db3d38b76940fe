import { HawserError } from '../core/errors.ts';
import { type ImageFormat, imageFormats } from '../core/formats.ts';

/** The format that `--format` names. */
export function formatOf(text: string): ImageFormat | 'auto' {
  const known = [...imageFormats, 'auto' as const].find((format) => format === text);
  if (known !== undefined) return known;
  throw new HawserError('bad-request', `--format is one of ${imageFormats.join(', ')} or auto; found "${text}".`);
}
