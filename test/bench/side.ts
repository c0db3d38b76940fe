/** One of the two servers that are compared. */
export interface Side extends AsyncDisposable {
  readonly name: 'hawser' | 'nginx';
  /** Main process: its descendants are the server. */
  readonly pid: number;
  /** Sends the parts of one image at the same time, and removes it afterwards: only `send` is measured. */
  put(parts: readonly Part[], size: number): Promise<Put>;
  /** Makes an image of this file that `get` reads. */
  store(file: string, size: number): Promise<void>;
  /** Reads it in so many streams at the same time. */
  get(streams: number, size: number): Promise<void>;
}

export interface Part {
  readonly file: string;
  readonly offset: number;
  readonly length: number;
}

export interface Put {
  send(): Promise<void>;
  remove(): Promise<void>;
}

/** First and last byte of each of `streams` equal stretches. */
export function stretches(size: number, streams: number): readonly (readonly [number, number])[] {
  const length = size / streams;
  return Array.from({ length: streams }, (_, i) => [i * length, (i + 1) * length - 1] as const);
}
