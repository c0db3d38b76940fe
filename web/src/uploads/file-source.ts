import type { FileSource } from '../../../src/client/ports.ts';
import { HawserError } from '../../../src/core/errors.ts';
import { fingerprintOf } from './fingerprint.ts';

/** A File of the page, read slice by slice; never more of it in memory than is being read. */
export function fileSource(file: File, apart?: string): FileSource {
  return {
    kind: 'file',
    size: file.size,
    fingerprint: fingerprintOf(file, apart),
    async read(into, offset) {
      const bytes = new Uint8Array(await slice(file, offset, into.length));
      if (bytes.length !== into.length) throw changed(file);
      into.set(bytes);
    },
  };
}

/** The browser refuses to read a file that was written or moved since it was chosen. */
async function slice(file: File, offset: number, length: number): Promise<ArrayBuffer> {
  try {
    return await file.slice(offset, offset + length).arrayBuffer();
  } catch (error) {
    throw changed(file, error);
  }
}

function changed(file: File, cause?: unknown): HawserError {
  return new HawserError(
    'source-changed',
    `${file.name} cannot be read any more: it was changed, moved or deleted after it was chosen.`,
    { cause, details: { unreadable: true, next: 'Put the original back and choose it again.' } },
  );
}
