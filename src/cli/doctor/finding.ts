export interface Finding {
  readonly about: string;
  readonly verdict: 'ok' | 'warn' | 'fail';
  readonly said: string;
  /** What to do about it. */
  readonly next?: string;
}
