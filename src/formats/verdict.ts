import { HawserError } from '../core/errors.ts';
import type { FormatVerdict } from '../core/formats.ts';
import type { DeclaredFormat } from '../core/nouns.ts';

/**
 * What must be told to the sender of content with this verdict, or undefined when it is welcome:
 * `format-unsafe`, or `format-mismatch` when it is safe but not what was declared. For a verdict of
 * `earlyVerdict` or `inspect` with the same `declared`.
 */
export function verdictError(verdict: FormatVerdict | undefined, declared: DeclaredFormat): HawserError | undefined {
  if (verdict === undefined) return undefined;
  const found = verdict.format;
  const details = { wanted: declared, found };
  if (verdict.kind === 'unsafe') {
    const opening = found === 'raw' ? 'This content is refused' : `This ${found} file is refused`;
    return new HawserError('format-unsafe', `${opening}. ${verdict.reason}`, {
      details: { ...details, reason: verdict.reason },
    });
  }
  if (declared === 'auto' || declared === found) return undefined;
  return new HawserError(
    'format-mismatch',
    `Declared was ${declared}, the content is ${found}. Send it again and declare ${found} or auto, or send the file that was meant.`,
    { details },
  );
}
