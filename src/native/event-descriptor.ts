import { libc, SystemCallError } from './libc.ts';

/** Wakes another thread from poll(2): see `Libc.event`. Undefined where there is none, or no descriptor free. */
export function eventDescriptor(): number | undefined {
  try {
    return libc()?.event();
  } catch (error) {
    if (error instanceof SystemCallError) return undefined;
    throw error;
  }
}
