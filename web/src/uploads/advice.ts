import { formatBytes } from '../parts/numbers.ts';
import type { Trouble } from './messages.ts';

export interface Advice {
  /** What is the matter. */
  readonly text: string;
  /** The next step, when a person has to take one. */
  readonly next?: string;
}

/** Trouble of an upload in words: what happened, and what to do. */
export function adviceFor({ code, message, details }: Trouble): Advice {
  const next = typeof details.next === 'string' ? { next: details.next } : {};
  if (details.status === 413) {
    return {
      text: 'A proxy between this browser and Hawser takes only small requests (413).',
      next: 'Raise its body limit; for nginx: client_max_body_size 0.',
    };
  }
  switch (code) {
    case 'unauthenticated':
      return { text: 'Your login has ended. The upload waits.', next: 'Sign in again and it goes on.' };
    case 'unavailable':
    case 'connection-lost':
      return navigator.onLine
        ? { text: 'Hawser does not answer. It tries again by itself; nothing is lost.' }
        : { text: 'This computer is offline. It goes on by itself when the network is back.' };
    case 'store-full':
    case 'quota-exceeded':
      return { text: message, next: 'Free space on the Store, then retry; what has arrived is kept.' };
    case 'paused':
      return { text: 'Somebody paused this upload.', next: 'Resume it when it may go on.' };
    case 'source-changed':
    case 'range-conflict':
      if (details.unreadable === true) return { text: message, ...next };
      return {
        text: `This file is not the one that was begun: ${message}`,
        next: 'Nothing of it was mixed in. Choose:',
      };
    case 'expired':
    case 'cancelled':
    case 'not-found':
      return { text: 'The unfinished upload is gone: it was cancelled or has expired.', next: 'Begin anew:' };
    case 'too-large': {
      const limit = typeof details.maxSize === 'number' ? ` The limit is ${formatBytes(details.maxSize)}.` : '';
      return { text: `${message}${limit}`, ...next };
    }
    default:
      return { text: message, ...next };
  }
}
