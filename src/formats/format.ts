import type { ImageFormat } from '../core/formats.ts';
import type { Look } from './look.ts';

/**
 * One format: how it is told by its bytes, and what is said of a file that has them. Both are pure
 * looks, see `Look`. `size` is the file's, undefined while it is not known; a judgement that needs it is left out then.
 */
export interface Format {
  readonly format: ImageFormat;
  /** Content that no tool follows to another file; it may also travel as plain raw bytes. */
  readonly harmless: boolean;
  recognise(): Look<boolean>;
  /** Left out: always safe, and its virtual size is the file's. */
  readonly judge?: (size: number | undefined) => Look<Finding>;
}

/** `virtualSize` null: the bytes of the file. A reason is a whole sentence or more: what was found, what to do. */
export type Finding =
  | { readonly kind: 'safe'; readonly virtualSize: number | null }
  | { readonly kind: 'unsafe'; readonly reason: string };

/**
 * 64 TiB: the most that VHDX can say and more than VMDK can; a larger number in a header that somebody
 * sent is an attempt to make a tool allocate tables.
 */
export const MAX_VIRTUAL_SIZE = 64 * 2 ** 40;

export function safe(virtualSize: number | null): Finding {
  return { kind: 'safe', virtualSize };
}

export function unsafe(reason: string): Finding {
  return { kind: 'unsafe', reason };
}

/** The first reason that is one, else `safe(virtualSize)`. */
export function judged(virtualSize: number, reasons: readonly (string | false)[]): Finding {
  for (const reason of reasons) if (reason !== false) return unsafe(reason);
  if (virtualSize > MAX_VIRTUAL_SIZE) {
    return unsafe(
      `Its header promises ${virtualSize} bytes of virtual size; at most ${MAX_VIRTUAL_SIZE} (64 TiB) are accepted. Make it smaller, or send it as raw.`,
    );
  }
  return safe(virtualSize);
}
