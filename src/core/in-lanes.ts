/**
 * Works through `items` with `count` lanes at once, in order of the items. The first error stops the
 * others through `stop` and is thrown when all of them have ended: nothing goes on behind the caller's back.
 */
export async function inLanes<T>(
  items: AsyncIterator<T>,
  count: number,
  stop: AbortController,
  work: (item: T, lane: number) => Promise<void>,
): Promise<void> {
  const run = async (lane: number) => {
    for (;;) {
      stop.signal.throwIfAborted();
      const next = await items.next();
      if (next.done === true) return;
      await work(next.value, lane);
    }
  };
  const lanes = Array.from({ length: count }, (_, lane) =>
    run(lane).catch((error: unknown) => {
      if (!stop.signal.aborted) stop.abort(error);
    }),
  );
  await Promise.all(lanes);
  await items.return?.();
  stop.signal.throwIfAborted();
}

/** A controller that follows `signal` until `release` is called. */
export function following(signal: AbortSignal): { readonly controller: AbortController; readonly release: () => void } {
  const controller = new AbortController();
  const follow = () => controller.abort(signal.reason);
  if (signal.aborted) follow();
  signal.addEventListener('abort', follow, { once: true });
  return { controller, release: () => signal.removeEventListener('abort', follow) };
}
