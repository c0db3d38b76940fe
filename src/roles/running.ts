/** What can be stopped; when that resolves, every process and socket of it is gone. */
export interface Stoppable {
  stop(): Promise<void>;
}

/**
 * Starts something that puts on the stack how each of its parts is ended. They are ended in the reverse order: when it is
 * stopped, and when its start fails in the middle.
 */
export async function running<T extends object>(
  start: (stack: AsyncDisposableStack) => Promise<T>,
): Promise<T & Stoppable> {
  const stack = new AsyncDisposableStack();
  try {
    const started = await start(stack);
    return { ...started, stop: () => stack.disposeAsync() };
  } catch (error) {
    await stack.disposeAsync();
    throw error;
  }
}
