import { crc32c } from './crc32c.ts';
import { hasText, isPowerOfTwo, isZero, le16, le32, le64 } from './fields.ts';
import { type Finding, type Format, judged, unsafe } from './format.ts';
import { bytesAt, type Look } from './look.ts';

/** Microsoft's second format. Source: [MS-VHDX]. */
export const vhdx: Format = { format: 'vhdx', harmless: false, recognise, judge };

const KIB = 1024;
const HEADERS = [64 * KIB, 128 * KIB];
const REGION_TABLES = [192 * KIB, 256 * KIB];
const MAX_ENTRIES = 2047;

const guid = {
  bat: '6677c22d23f600429d64115e9bfd4a08',
  metadata: '06a27c8b90479a4bb8fe575f050f886e',
  fileParameters: '3767a1ca36fa434db3b633f0aa44e76b',
  virtualSize: '2442a52f1bcd7648b2115dbed83bf4b8',
  parentLocator: '2d5fd3a80bb34d45abf7d3d84834ab0c',
} as const;

const damaged = 'It is damaged or was made to confuse; make it anew with qemu-img convert -O vhdx.';
const merge = 'It holds only the differences to a parent image, which it names. Merge it first (Merge-VHD).';

function* recognise(): Look<boolean> {
  return hasText(yield* bytesAt(0, 8), 0, 'vhdxfile');
}

function* judge(size: number | undefined): Look<Finding> {
  const log = yield* judgeLog();
  if (log !== null) return unsafe(log);
  const metadata = yield* findMetadata();
  if (typeof metadata === 'string') return unsafe(metadata);
  if (size !== undefined && metadata.offset + metadata.length > size) {
    return unsafe('Its metadata lies beyond the end of the file: it was cut off. Send it again.');
  }
  return yield* judgeMetadata(metadata);
}

/** A log that waits to be replayed may still change all that is judged here. */
function* judgeLog(): Look<string | null> {
  let newest = -1;
  let logIsEmpty = false;
  for (const offset of HEADERS) {
    const header = Uint8Array.from(yield* bytesAt(offset, 4 * KIB));
    if (header.length < 4 * KIB || !hasText(header, 0, 'head')) continue;
    const checksum = le32(header, 4);
    header.fill(0, 4, 8);
    if (crc32c(header) !== checksum || le64(header, 8) < newest) continue;
    newest = le64(header, 8);
    logIsEmpty = isZero(header.subarray(48, 64));
  }
  if (newest < 0) return `Neither of its headers is whole. ${damaged}`;
  return logIsEmpty
    ? null
    : 'It was not closed properly: its log waits to be replayed. Attach and detach it once where it was made, then send it again.';
}

interface Region {
  readonly offset: number;
  readonly length: number;
}

/** Both region tables must say the same: tools differ in which one they take. */
function* findMetadata(): Look<Region | string> {
  const [first, second] = [
    yield* bytesAt(REGION_TABLES[0] ?? 0, 64 * KIB),
    yield* bytesAt(REGION_TABLES[1] ?? 0, 64 * KIB),
  ];
  if (!hasText(first, 0, 'regi') || first.length !== second.length || Buffer.compare(first, second) !== 0) {
    return `Its two region tables are not whole and equal. ${damaged}`;
  }
  const count = le32(first, 8);
  if (count > MAX_ENTRIES) return `Its region table has ${count} entries. ${damaged}`;
  let found: Region | undefined;
  for (let at = 16; at < 16 + count * 32; at += 32) {
    const id = guidAt(first, at);
    if (id === guid.metadata && found === undefined)
      found = { offset: le64(first, at + 16), length: le32(first, at + 24) };
    else if (id !== guid.bat && (id === guid.metadata || (le32(first, at + 28) & 1) !== 0)) {
      return `It has a region that is unknown here or stands twice. ${damaged}`;
    }
  }
  return found ?? `It has no metadata. ${damaged}`;
}

function* judgeMetadata(region: Region): Look<Finding> {
  const table = yield* bytesAt(region.offset, 64 * KIB);
  const count = le16(table, 10);
  if (!hasText(table, 0, 'metadata') || count > MAX_ENTRIES)
    return unsafe(`Its metadata table is not whole. ${damaged}`);
  let virtualSize: number | undefined;
  let blockSize: number | undefined;
  for (let at = 32; at < 32 + count * 32; at += 32) {
    const id = guidAt(table, at);
    if (id === guid.parentLocator) return unsafe(merge);
    if (id !== guid.fileParameters && id !== guid.virtualSize) continue;
    const item = yield* bytesAt(region.offset + le32(table, at + 16), 8);
    if (item.length < 8) return unsafe(`Its metadata is cut off. ${damaged}`);
    if ((id === guid.virtualSize ? virtualSize : blockSize) !== undefined) {
      return unsafe(`Its metadata says the same thing twice. ${damaged}`);
    }
    if (id === guid.virtualSize) virtualSize = le64(item, 0);
    else {
      if ((le32(item, 4) & 2) !== 0) return unsafe(merge);
      blockSize = le32(item, 0);
    }
  }
  if (virtualSize === undefined || blockSize === undefined) return unsafe(`Its metadata gives no size. ${damaged}`);
  return judged(virtualSize, [
    (!isPowerOfTwo(blockSize) || blockSize < 2 ** 20 || blockSize > 2 ** 28) &&
      `Its blocks have ${blockSize} bytes; 1 to 256 MiB are possible. ${damaged}`,
  ]);
}

function guidAt(bytes: Uint8Array, offset: number): string {
  return Buffer.from(bytes.subarray(offset, offset + 16)).toString('hex');
}
