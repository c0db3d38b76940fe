import { closeSync } from 'node:fs';
import { libc, SystemCallError } from './libc.ts';

export interface Duplicate {
  readonly fd: number;
  close(): void;
}

/**
 * A second descriptor of what `fd` means: it stays when the first one is closed, and its number is not
 * given to anything else before. Undefined where that cannot be had: no such call, or no descriptor free.
 */
export function duplicate(fd: number): Duplicate | undefined {
  try {
    const copy = libc()?.duplicate(fd);
    return copy === undefined ? undefined : { fd: copy, close: () => closeSync(copy) };
  } catch (error) {
    if (error instanceof SystemCallError) return undefined;
    throw error;
  }
}
