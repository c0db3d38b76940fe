import { isRefusal, libc } from './libc.ts';

/** posix_fadvise(2). */
const advices = { sequential: 2, 'will-need': 3, 'dont-need': 4 } as const;
export type Advice = keyof typeof advices;

/** Tells the page cache what comes. A hint: where it cannot be given nothing happens. Length 0: to the end. */
export async function advise(fd: number, offset: number, length: number, advice: Advice): Promise<void> {
  try {
    await libc()?.advise(fd, offset, length, advices[advice]);
  } catch (error) {
    if (!isRefusal(error)) throw error;
  }
}
