import { be32, be64, hasText } from './fields.ts';
import { type Finding, type Format, judged, unsafe } from './format.ts';
import { bytesAt, type Look } from './look.ts';

/** QEMU's format, versions 2 and 3. Source: docs/interop/qcow2.txt of QEMU; limits as its block/qcow2.h has them. */
export const qcow2: Format = { format: 'qcow2', harmless: false, recognise, judge };

const MAGIC = 'QFI\xfb';
const V2_HEADER = 72;
const V3_HEADER = 104;
const MAX_L1_BYTES = 32 * 1024 * 1024;
const MAX_REFCOUNT_TABLE_BYTES = 8 * 1024 * 1024;
const MAX_SNAPSHOTS = 65536;
/** Real headers end within 1 KiB, whatever the cluster size. */
const MAX_EXTENSIONS_END = 64 * 1024;

const incompatible = { corrupt: 1 << 1, dataFile: 1 << 2, extendedL2: 1 << 4, known: 0b11111 } as const;
const extensionKind = { end: 0, dataFileName: 0x44415441 } as const;

const damaged = 'It is damaged or was made to confuse; make it anew with qemu-img convert -O qcow2.';
const flatten = 'Send one file that holds everything: qemu-img convert -O qcow2 OLD NEW.';

interface Header {
  readonly version: number;
  readonly clusterBits: number;
  readonly clusterSize: number;
  readonly virtualSize: number;
  readonly l1Entries: number;
  readonly l1Offset: number;
  readonly features: number;
  readonly headerLength: number;
}

function* recognise(): Look<boolean> {
  // Version 1 has the same magic and is another format: foreign.ts.
  const head = yield* bytesAt(0, 8);
  return hasText(head, 0, MAGIC) && be32(head, 4) !== 1;
}

function* judge(size: number | undefined): Look<Finding> {
  const head = yield* bytesAt(0, V3_HEADER);
  const version = be32(head, 4);
  if (head.length < (version === 2 ? V2_HEADER : V3_HEADER)) return unsafe(`Its header is cut off. ${damaged}`);
  if (version !== 2 && version !== 3) {
    return unsafe(`It has qcow2 version ${version}; 2 and 3 are accepted. Convert it: qemu-img convert -O qcow2.`);
  }
  const header = headerOf(head, version);
  const reason =
    outsideFile(head) ?? outOfBounds(head, header) ?? (size === undefined ? null : pastEnd(head, header, size));
  if (reason !== null) return unsafe(reason);
  const extensions = yield* judgeExtensions(header);
  return judged(header.virtualSize, [extensions ?? false]);
}

function headerOf(head: Uint8Array, version: number): Header {
  const clusterBits = be32(head, 20);
  return {
    version,
    clusterBits,
    clusterSize: 2 ** clusterBits,
    virtualSize: be64(head, 24),
    l1Entries: be32(head, 36),
    l1Offset: be64(head, 40),
    features: version === 2 ? 0 : be32(head, 76),
    headerLength: version === 2 ? V2_HEADER : be32(head, 100),
  };
}

/** A reference to another file, or a feature that may be one. */
function outsideFile(head: Uint8Array): string | null {
  if (be64(head, 8) !== 0 || be32(head, 16) !== 0) {
    return `It names a backing file, which would be read from the host that opens it. ${flatten}`;
  }
  if (be32(head, 4) === 2) return null;
  const features = be32(head, 76);
  if ((features & incompatible.dataFile) !== 0) {
    return `It keeps its data in an external file, which would be read from the host that opens it. ${flatten}`;
  }
  if (be32(head, 72) !== 0 || (features & ~incompatible.known) !== 0) {
    return 'It uses incompatible features that are unknown here. Convert it without them: qemu-img convert -O qcow2.';
  }
  if ((features & incompatible.corrupt) !== 0) {
    return 'It is marked as corrupt. Repair it first: qemu-img check -r all.';
  }
  return null;
}

/** Numbers that contradict the format or themselves. */
function outOfBounds(head: Uint8Array, header: Header): string | null {
  const { clusterBits, clusterSize, headerLength } = header;
  const extendedL2 = (header.features & incompatible.extendedL2) !== 0;
  if (clusterBits < (extendedL2 ? 14 : 9) || clusterBits > 21) {
    return `Its clusters have 2^${clusterBits} bytes; 2^${extendedL2 ? 14 : 9} to 2^21 are possible. ${damaged}`;
  }
  if (
    headerLength < (header.version === 2 ? V2_HEADER : V3_HEADER) ||
    headerLength > clusterSize ||
    headerLength % 8 !== 0
  ) {
    return `Its header length is ${headerLength} bytes, which is impossible. ${damaged}`;
  }
  if (be32(head, 32) > 2) return `It is encrypted by an unknown method (${be32(head, 32)}). ${damaged}`;
  if (header.version === 3 && be32(head, 96) > 6)
    return `Its reference counts have 2^${be32(head, 96)} bits. ${damaged}`;
  if (be32(head, 60) > MAX_SNAPSHOTS) return `It says it has ${be32(head, 60)} snapshots inside. ${damaged}`;
  if (be32(head, 56) * clusterSize > MAX_REFCOUNT_TABLE_BYTES)
    return `Its reference count table is too large. ${damaged}`;
  if (header.l1Entries * 8 > MAX_L1_BYTES) return `Its L1 table is too large. ${damaged}`;
  const covered = clusterSize * (clusterSize / (extendedL2 ? 16 : 8)) * header.l1Entries;
  if (covered < header.virtualSize) return `Its L1 table is too small for ${header.virtualSize} bytes. ${damaged}`;
  const tables = [header.l1Offset, be64(head, 48)];
  if (tables.some((offset) => offset % clusterSize !== 0)) return `A table does not begin at a cluster. ${damaged}`;
  return null;
}

function pastEnd(head: Uint8Array, header: Header, size: number): string | null {
  const ends = [header.headerLength, be64(head, 48)];
  if (header.l1Entries > 0) ends.push(header.l1Offset + header.l1Entries * 8);
  if (be32(head, 60) > 0) ends.push(be64(head, 64));
  return ends.some((end) => end > size)
    ? `A table lies beyond the end of the file: it was cut off. Send it again.`
    : null;
}

/** Header extensions: each one inside the first cluster, none that names a file. */
function* judgeExtensions(header: Header): Look<string | null> {
  const area = yield* bytesAt(0, Math.min(header.clusterSize, MAX_EXTENSIONS_END));
  let offset = header.headerLength;
  while (offset + 8 <= area.length) {
    const kind = be32(area, offset);
    const length = be32(area, offset + 4);
    if (kind === extensionKind.end) return null;
    if (kind === extensionKind.dataFileName) return `It names an external data file. ${flatten}`;
    if (offset + 8 + length > area.length) return `A header extension does not fit in the header. ${damaged}`;
    offset += 8 + Math.ceil(length / 8) * 8;
  }
  return area.length < header.clusterSize ? `Its header extensions do not end. ${damaged}` : null;
}
