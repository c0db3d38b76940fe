import { be16, be32, be64, hasText, isPowerOfTwo, latin1, u8 } from './fields.ts';
import { type Finding, type Format, judged, unsafe } from './format.ts';
import { bytesAt, type Look } from './look.ts';

/** Microsoft's first format, dynamic: a copy of the footer stands at the head. Source: Virtual Hard Disk Image Format Specification 1.0. */
export const vhd: Format = { format: 'vhd', harmless: false, recognise, judge };

export const VHD_FOOTER = 512;

const COOKIE = 'conectix';
const diskKind = { fixed: 2, dynamic: 3, differencing: 4 } as const;
/** Writers whose visible size is the footer's; all others' is the geometry, as QEMU has it (block/vpc.c). */
const sizedByFooter = ['win ', 'qem2', 'd2v ', 'tap\0', 'CTXS', 'wa\0\0'];
const LARGEST_GEOMETRY = 65535 * 16 * 255;

const damaged = 'It is damaged or was made to confuse; make it anew with qemu-img convert -O vpc.';

/**
 * What the last 512 bytes say of a fixed VHD, whose footer stands only there; undefined when they are
 * no such footer. Only a right checksum and the right size count: those bytes may also be a guest's.
 */
export function fixedVhd(tail: Uint8Array, size: number): Finding | undefined {
  const footer = tail.subarray(tail.length - VHD_FOOTER);
  if (footer.length < VHD_FOOTER || !hasText(footer, 0, COOKIE) || !hasChecksum(footer, 64)) return undefined;
  if (be32(footer, 60) !== diskKind.fixed || be64(footer, 48) !== size - VHD_FOOTER) return undefined;
  return judged(Math.min(virtualSizeOf(footer), size - VHD_FOOTER), []);
}

function* recognise(): Look<boolean> {
  return hasText(yield* bytesAt(0, COOKIE.length), 0, COOKIE);
}

function* judge(size: number | undefined): Look<Finding> {
  const footer = yield* bytesAt(0, VHD_FOOTER);
  if (footer.length < VHD_FOOTER) return unsafe(`Its header is cut off. ${damaged}`);
  const kind = be32(footer, 60);
  if (kind === diskKind.differencing) {
    return unsafe(
      'It holds only the differences to a parent image, which it names. Merge it first (Merge-VHD, or qemu-img convert).',
    );
  }
  if (!hasChecksum(footer, 64)) return unsafe(`The checksum of its header is wrong. ${damaged}`);
  if (kind !== diskKind.dynamic)
    return unsafe(`It has the header of a dynamic VHD and says it is of kind ${kind}. ${damaged}`);
  const headerOffset = be64(footer, 16);
  if (size !== undefined && headerOffset + 1024 > size)
    return unsafe('It was cut off after its header. Send it again.');
  const header = yield* bytesAt(headerOffset, 1024);
  if (header.length < 1024 || !hasText(header, 0, 'cxsparse'))
    return unsafe(`Its second header is missing. ${damaged}`);
  return judgeDynamic(footer, header, size);
}

function judgeDynamic(footer: Uint8Array, header: Uint8Array, size: number | undefined): Finding {
  const blockSize = be32(header, 32);
  const blocks = be32(header, 28);
  const tableEnd = be64(header, 16) + blocks * 4;
  const virtualSize = virtualSizeOf(footer);
  return judged(virtualSize, [
    (!isPowerOfTwo(blockSize) || blockSize < 4096) && `Its blocks have ${blockSize} bytes. ${damaged}`,
    blocks * blockSize < virtualSize && `Its block table is too small for ${virtualSize} bytes. ${damaged}`,
    size !== undefined &&
      tableEnd > size &&
      'Its block table lies beyond the end of the file: it was cut off. Send it again.',
  ]);
}

function virtualSizeOf(footer: Uint8Array): number {
  const sectors = be16(footer, 56) * u8(footer, 58) * u8(footer, 59);
  const byFooter = sizedByFooter.includes(latin1(footer.subarray(28, 32))) || sectors === LARGEST_GEOMETRY;
  return byFooter ? be64(footer, 48) : sectors * 512;
}

/** The ones' complement of the sum of all other bytes. */
function hasChecksum(bytes: Uint8Array, at: number): boolean {
  let sum = 0;
  for (const [i, byte] of bytes.entries()) if (i < at || i >= at + 4) sum += byte;
  return ~sum >>> 0 === be32(bytes, at);
}
