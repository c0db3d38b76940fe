import { isHawserError } from '../../../src/core/errors.ts';
import { signalStore } from '../parts/signal-store.ts';

/** True once a call was refused because the login has ended while somebody was signed in. */
export const loginLost = signalStore(false);

const SKIPPED = 'hawser-password-later';

/** Looks at every failed call; only a lost login matters here. */
export function noticeFailure(error: unknown): void {
  if (isHawserError(error, 'unauthenticated')) loginLost.set(true);
}

export function passwordOfferWasSkipped(user: string): boolean {
  return localStorage.getItem(SKIPPED) === user;
}

export function skipPasswordOffer(user: string): void {
  localStorage.setItem(SKIPPED, user);
}
