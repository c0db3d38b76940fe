import { hasText, isPowerOfTwo, latin1, le32, le64 } from './fields.ts';
import { type Finding, type Format, judged, unsafe } from './format.ts';
import { bytesAt, type Look } from './look.ts';
import { judgeDescriptor } from './vmdk-descriptor.ts';

/**
 * VMware's format: one sparse file with its descriptor inside (monolithicSparse, streamOptimized).
 * Everything else names other files. Source: VMware Virtual Disk Format 5.0; block/vmdk.c of QEMU.
 */
export const vmdk: Format = { format: 'vmdk', harmless: false, recognise, judge };

const SECTOR = 512;
const MAX_DESCRIPTOR = 1024 * 1024;
/** How much text may come before `version=` for the file to count as a descriptor. */
const TEXT_PROBE = 4096;

const damaged =
  'It is damaged or was made to confuse; make it anew with qemu-img convert -O vmdk -o subformat=streamOptimized.';
const oneFile =
  'Send one file that holds everything: qemu-img convert -O vmdk -o subformat=streamOptimized OLD NEW, or as qcow2 or raw.';

interface Header {
  readonly capacity: number;
  readonly grainSize: number;
  readonly descriptorOffset: number;
  readonly descriptorSize: number;
  readonly entriesPerTable: number;
  readonly directoryOffset: number;
}

function* recognise(): Look<boolean> {
  const head = yield* bytesAt(0, 4);
  if (hasText(head, 0, 'KDMV') || hasText(head, 0, 'COWD')) return true;
  if (!/^[#\s]/.test(latin1(head)) && !hasText(head, 0, 'vers')) return false;
  return isTextDescriptor(latin1(yield* bytesAt(0, TEXT_PROBE)));
}

function* judge(size: number | undefined): Look<Finding> {
  const head = yield* bytesAt(0, SECTOR);
  if (hasText(head, 0, 'COWD'))
    return unsafe(`It is an ESX sparse extent, whose descriptor is another file. ${oneFile}`);
  if (!hasText(head, 0, 'KDMV')) return unsafe(`It is a descriptor that names other files as its data. ${oneFile}`);
  if (head.length < SECTOR) return unsafe(`Its header is cut off. ${damaged}`);
  const version = le32(head, 4);
  if (version < 1 || version > 3) return unsafe(`It has VMDK version ${version}; 1 to 3 are accepted. ${damaged}`);
  const header = headerOf(head);
  const reason = outOfBounds(header) ?? (size === undefined ? null : pastEnd(header, size));
  if (reason !== null) return unsafe(reason);
  const descriptor = judgeDescriptor(yield* bytesAt(header.descriptorOffset * SECTOR, header.descriptorSize * SECTOR));
  if (descriptor !== null) return unsafe(descriptor);
  if (isAtEnd(header) && size !== undefined) {
    const footer = yield* judgeFooter(header, size);
    if (footer !== null) return unsafe(footer);
  }
  return judged(header.capacity * SECTOR, []);
}

function headerOf(head: Uint8Array): Header {
  return {
    capacity: le64(head, 12),
    grainSize: le64(head, 20),
    descriptorOffset: le64(head, 28),
    descriptorSize: le64(head, 36),
    entriesPerTable: le32(head, 44),
    directoryOffset: le64(head, 56),
  };
}

/** The grain directory is written last, in a streamOptimized file that was made as a stream. */
function isAtEnd(header: Header): boolean {
  return header.directoryOffset >= 0xffff_ffff_ffff_f000;
}

function outOfBounds(header: Header): string | null {
  // A tool that finds no capacity here takes it, and the files to open, from the descriptor.
  if (header.capacity === 0)
    return `Its header gives no size, so that its descriptor decides what is opened. ${oneFile}`;
  if (header.descriptorSize === 0) return `It is one piece of several: it has no descriptor inside. ${oneFile}`;
  if (header.descriptorOffset !== 1) return `Its descriptor is not behind its header. ${damaged}`;
  if (header.descriptorSize * SECTOR > MAX_DESCRIPTOR) return `Its descriptor is larger than 1 MiB. ${damaged}`;
  if (!isPowerOfTwo(header.grainSize) || header.grainSize > 2 ** 21) {
    return `Its grains have ${header.grainSize} sectors. ${damaged}`;
  }
  if (header.entriesPerTable === 0 || header.entriesPerTable > 512) {
    return `Its grain tables have ${header.entriesPerTable} entries. ${damaged}`;
  }
  return null;
}

function pastEnd(header: Header, size: number): string | null {
  const end = isAtEnd(header) ? 0 : header.directoryOffset * SECTOR;
  return Math.max(end, (1 + header.descriptorSize) * SECTOR) > size
    ? 'A table lies beyond the end of the file: it was cut off. Send it again.'
    : null;
}

/** The last three sectors are a marker, a header that counts instead of the first, and the end marker. */
function* judgeFooter(header: Header, size: number): Look<string | null> {
  const footer = yield* bytesAt(size - 2 * SECTOR, SECTOR);
  if (!hasText(footer, 0, 'KDMV')) return 'Its footer is missing: it was cut off. Send it again.';
  const last = headerOf(footer);
  const same =
    last.capacity === header.capacity &&
    last.grainSize === header.grainSize &&
    last.descriptorOffset === header.descriptorOffset &&
    last.descriptorSize === header.descriptorSize;
  if (!same) return `Its footer says something else than its header. ${damaged}`;
  return isAtEnd(last) || last.directoryOffset * SECTOR > size
    ? `Its footer names no grain directory. ${damaged}`
    : null;
}

/** As QEMU guesses: comments and blank lines, then `version=`; or the customary first line. */
function isTextDescriptor(text: string): boolean {
  if (/^# Disk DescriptorFile/i.test(text)) return true;
  const line = text.split('\n').find((each) => !/^\s*(#|$)/.test(each.replace(/\r$/, '')));
  return line !== undefined && /^\s*version\s*=\s*\d/i.test(line);
}
