import { be32, be64, latin1 } from './fields.ts';
import { bytesAt, type FormatReader, type Look } from './look.ts';

/** Other files that a qcow2 names, as it names them. */
export interface Qcow2References {
  readonly backing: { readonly name: string; readonly format: string | null } | null;
  readonly dataFile: string | null;
  /** The same file as if it named none: everything else of it can then be judged. */
  readonly without: FormatReader;
}

/** Source: docs/interop/qcow2.txt of QEMU. */
const V3_HEADER = 104;
const LONGEST_NAME = 1023;
const DATA_FILE_FEATURE = 1 << 2;
const extension = { end: 0, backingFormat: 0xe2792aca, dataFileName: 0x44415441, unknown: 0x4e4f4e45 } as const;
/** More than any real header has. */
const MOST_EXTENSIONS = 64;
const HEAD = 64 * 1024;

/** What the file refers to; nothing where its header cannot be read, which `inspect` then says better. */
export function* qcow2References(reader: FormatReader): Look<Qcow2References> {
  const head = Uint8Array.from(yield* bytesAt(0, HEAD));
  const view = new DataView(head.buffer);
  if (head.length < V3_HEADER) return { backing: null, dataFile: null, without: reader };
  const nameAt = be64(head, 8);
  const nameLength = be32(head, 16);
  const named = nameAt !== 0 && nameLength > 0 && nameLength <= LONGEST_NAME;
  const name = named ? utf8(yield* bytesAt(nameAt, nameLength)) : null;
  if (named) {
    view.setBigUint64(8, 0n);
    view.setUint32(16, 0);
  }
  let format: string | null = null;
  let dataFile: string | null = null;
  const version3 = be32(head, 4) === 3;
  const external = version3 && (be32(head, 76) & DATA_FILE_FEATURE) !== 0;
  for (const { kind, at, length } of extensionsOf(head, version3 ? be32(head, 100) : 72)) {
    if (kind === extension.backingFormat) format = latin1(head.subarray(at, at + length));
    if (kind !== extension.dataFileName) continue;
    // Without the feature nobody follows the name.
    if (external) dataFile = utf8(head.subarray(at, at + length));
    view.setUint32(at - 8, extension.unknown);
  }
  if (dataFile !== null) view.setUint32(76, be32(head, 76) & ~DATA_FILE_FEATURE);
  return { backing: name === null ? null : { name, format }, dataFile, without: patched(reader, head) };
}

interface Extension {
  readonly kind: number;
  /** Of its content. */
  readonly at: number;
  readonly length: number;
}

function* extensionsOf(head: Uint8Array, from: number): Generator<Extension> {
  let at = from + 8;
  for (let count = 0; count < MOST_EXTENSIONS && at <= head.length; count++) {
    const kind = be32(head, at - 8);
    const length = be32(head, at - 4);
    if (kind === extension.end || at + length > head.length) return;
    yield { kind, at, length };
    at += Math.ceil(length / 8) * 8 + 8;
  }
}

function patched(reader: FormatReader, head: Uint8Array): FormatReader {
  return {
    size: reader.size,
    async read(offset, length) {
      const bytes = Uint8Array.from(await reader.read(offset, length));
      if (offset < head.length) bytes.set(head.subarray(offset, Math.min(head.length, offset + length)));
      return bytes;
    },
  };
}

function utf8(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('utf8');
}
