import type { Readable } from 'node:stream';
import type { StreamSource } from '../../client/ports.ts';

/** What comes through a pipe, once and in order. `name` and `size` are how its Upload is found again. */
export function pipeSource(
  pipe: Readable,
  { name, size }: { readonly name: string; readonly size: number | null },
): StreamSource {
  const chunks = pipe[Symbol.asyncIterator]();
  let rest: Uint8Array = new Uint8Array();
  return {
    kind: 'stream',
    size,
    fingerprint: `pipe|${name}|${size ?? ''}`.slice(0, 1000),
    async read(into) {
      let done = 0;
      while (done < into.length) {
        if (rest.length === 0) {
          const next = await chunks.next();
          if (next.done === true) break;
          rest = next.value as Uint8Array;
        }
        const part = rest.subarray(0, into.length - done);
        into.set(part, done);
        done += part.length;
        rest = rest.subarray(part.length);
      }
      return done;
    },
  };
}
