import { isPowerOfTwo, isZero, le32, le64 } from './fields.ts';
import { type Finding, type Format, judged, unsafe } from './format.ts';
import { bytesAt, type Look } from './look.ts';

/** VirtualBox's format. Source: VDICore.h of VirtualBox and block/vdi.c of QEMU. */
export const vdi: Format = { format: 'vdi', harmless: false, recognise, judge };

const SIGNATURE = 0xbeda107f;
const HEADER = 0x200;
const imageKind = { dynamic: 1, fixed: 2 } as const;

const clone = 'Send one file that holds everything: VBoxManage clonemedium OLD NEW --format VDI.';
const damaged = 'It is damaged or was made to confuse; make it anew with qemu-img convert -O vdi.';

function* recognise(): Look<boolean> {
  const field = yield* bytesAt(0x40, 4);
  return field.length === 4 && le32(field, 0) === SIGNATURE;
}

function* judge(size: number | undefined): Look<Finding> {
  const head = yield* bytesAt(0, HEADER);
  if (head.length < HEADER) return unsafe(`Its header is cut off. ${damaged}`);
  if (le32(head, 0x44) !== 0x0001_0001) return unsafe(`Its header has another version than 1.1. ${damaged}`);
  const kind = le32(head, 0x4c);
  const linked = !isZero(head.subarray(0x1a8, 0x1c8));
  const virtualSize = le64(head, 0x170);
  const blockSize = le32(head, 0x178);
  const blocks = le32(head, 0x180);
  const mapEnd = le32(head, 0x154) + blocks * 4;
  return judged(virtualSize, [
    ((kind !== imageKind.dynamic && kind !== imageKind.fixed) || linked) &&
      `It holds only the differences to a parent image. ${clone}`,
    (!isPowerOfTwo(blockSize) || blockSize < 4096) && `Its blocks have ${blockSize} bytes. ${damaged}`,
    blocks * blockSize < virtualSize && `Its block map is too small for ${virtualSize} bytes. ${damaged}`,
    size !== undefined &&
      mapEnd > size &&
      'Its block map lies beyond the end of the file: it was cut off. Send it again.',
  ]);
}
