/** When to kill, by what passed the proxy in this round; never by the clock alone. */
export type KillPoint =
  /** So large a part of the content is acknowledged (0 to 1). */
  | { readonly kind: 'acknowledged'; readonly part: number }
  /** So large a part of the data has gone to the server: in the middle of bodies. */
  | { readonly kind: 'moved'; readonly part: number }
  /** The last byte was acknowledged just now. */
  | { readonly kind: 'complete' }
  /** The finish request went on to the server so many milliseconds ago. */
  | { readonly kind: 'finish-request'; readonly delayMs: number }
  /** The server has answered the finish, the client does not hear it. */
  | { readonly kind: 'finish-answer-lost' }
  /** The client has heard it. */
  | { readonly kind: 'finish-answered' };

export interface Kill {
  readonly who: 'server' | 'client';
  readonly at: KillPoint;
}

export interface Plan {
  readonly seed: number;
  readonly kills: readonly Kill[];
}

/** Everything about a round comes from its seed. Eleven seeds in a row meet every kind of moment. */
export function planOf(seed: number): Plan {
  const random = seeded(seed);
  const middle = (from: number, to: number): KillPoint => ({
    kind: random() < 0.5 ? 'acknowledged' : 'moved',
    part: Number((from + random() * (to - from)).toFixed(4)),
  });
  // A finish takes as long as the disk takes to sync: mostly its beginning is hit, sometimes its end.
  const finishing = (): KillPoint => ({
    kind: 'finish-request',
    delayMs: Math.floor(random() * (random() < 0.7 ? 30 : 300)),
  });
  const kinds: readonly (() => readonly Kill[])[] = [
    () => [{ who: 'server', at: middle(0.02, 0.97) }],
    () => [{ who: 'client', at: middle(0.02, 0.97) }],
    () => [{ who: 'server', at: finishing() }],
    () => [
      { who: 'client', at: middle(0.05, 0.5) },
      { who: 'server', at: middle(0.55, 0.97) },
    ],
    () => [{ who: 'server', at: { kind: 'complete' } }],
    () => [
      { who: 'server', at: middle(0.05, 0.5) },
      { who: 'client', at: middle(0.55, 0.97) },
    ],
    () => [{ who: 'server', at: { kind: 'finish-answer-lost' } }],
    () => [{ who: 'client', at: random() < 0.5 ? finishing() : { kind: 'complete' } }],
    () => [{ who: 'server', at: { kind: 'finish-answered' } }],
    () => [
      { who: 'client', at: random() < 0.5 ? middle(0.05, 0.9) : { kind: 'complete' } },
      { who: 'server', at: finishing() },
    ],
    () => [{ who: 'client', at: { kind: random() < 0.5 ? 'finish-answer-lost' : 'finish-answered' } }],
  ];
  const kind = kinds[seed % kinds.length];
  return { seed, kills: kind === undefined ? [] : kind() };
}

/** A small generator of numbers from 0 up to 1: the same seed, the same numbers. */
export function seeded(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
