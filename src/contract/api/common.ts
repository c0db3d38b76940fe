import { z } from 'zod';
import { type ErrorCode, errorCatalogue } from '../../core/errors.ts';

export const API_PREFIX = '/api/v1';

export const bytes = z.number().int().nonnegative();
export const timestamp = z.iso.datetime();
export const uuid = z.uuid();

/** A name as people give it: 1 to 255 characters, no control characters, not only blanks. Names are not unique. */
export const name = z
  .string()
  .trim()
  .min(1)
  .max(255)
  // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what is refused
  .regex(/^[^\u0000-\u001f\u007f]*$/, 'no control characters');

/** `algorithm:hex`, as core/digest writes it. */
export const digestText = z.string().max(200);

export const range = z.object({ offset: bytes, length: bytes });

const codes = Object.keys(errorCatalogue) as [ErrorCode, ...ErrorCode[]];

/** RFC 9457 problem+json. `detail` says what was wanted, found and to be done; `next` is the step to take. */
export const problem = z.object({
  type: z.string(),
  title: z.string(),
  status: z.number().int(),
  detail: z.string(),
  code: z.enum(codes),
  /** A hint for the person: the next step. */
  next: z.string().optional(),
  retryable: z.boolean(),
  requestId: z.string(),
  details: z.record(z.string(), z.unknown()).optional(),
});
export type Problem = z.infer<typeof problem>;

/** Query of every list: newest first; `cursor` is `next` of the page before. */
export const pageQuery = z.object({
  limit: z.coerce.number().int().min(1).max(500).default(50),
  cursor: z.string().max(200).optional(),
});

export function pageOf<T extends z.ZodType>(item: T) {
  return z.object({ items: z.array(item), next: z.string().nullable() });
}
export interface Page<T> {
  readonly items: readonly T[];
  readonly next: string | null;
}
