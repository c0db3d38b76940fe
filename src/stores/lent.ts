/** As in LentFile: of a file its filesystem, of a block device itself. */
export function placeOf(stat: {
  isBlockDevice(): boolean;
  readonly dev: number | bigint;
  readonly rdev: number | bigint;
}): string {
  return stat.isBlockDevice() ? `device ${stat.rdev}` : `filesystem ${stat.dev}`;
}

/** `act` the first time that it is called, then nothing. */
export function once(act: () => void): () => void {
  let left = true;
  return () => {
    if (left) act();
    left = false;
  };
}
