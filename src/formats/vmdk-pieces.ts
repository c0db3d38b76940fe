import { hasText, isPowerOfTwo, latin1, le32, le64 } from './fields.ts';
import { bytesAt, type Look } from './look.ts';

/** A line of a VMDK descriptor that names where data is. */
export type VmdkPiece =
  | { readonly kind: 'sparse'; readonly sectors: number; readonly name: string }
  | { readonly kind: 'flat'; readonly sectors: number; readonly name: string; readonly startSector: number };

/** Descriptors of real images have a few KiB. */
const MOST_TEXT = 64 * 1024;
const MOST_PIECES = 4096;
/** 2 TiB in sectors: the most of one file. */
const MOST_SECTORS = 2 ** 32;
const kinds = ['twogbmaxextentsparse', 'twogbmaxextentflat', 'monolithicflat'];

/** The pieces of a VMDK whose descriptor is a file of its own, or why it is not taken. */
export function* vmdkPieces(size: number): Look<readonly VmdkPiece[] | string> {
  if (size > MOST_TEXT) return `Its descriptor has ${size} bytes; at most ${MOST_TEXT} are read.`;
  const text = latin1(yield* bytesAt(0, size)).replace(/\0+$/, '');
  if (/[^\t\r\n\x20-\x7e]/.test(text)) return 'Its descriptor is not plain text.';
  const pieces: VmdkPiece[] = [];
  for (const line of text.split(/\r?\n/).map((each) => each.trim())) {
    if (line === '' || line.startsWith('#')) continue;
    const piece = /^(RW|RDONLY)\b/i.test(line) ? pieceOf(line) : settingOf(line);
    if (typeof piece === 'string') return piece;
    if (piece !== null) pieces.push(piece);
  }
  if (pieces.length === 0 || pieces.length > MOST_PIECES) return `Its descriptor lists ${pieces.length} extents.`;
  return pieces;
}

/** Whether a file is a sparse piece that only holds data: the tool that opens it follows nothing in it. */
export function* isSparsePiece(size: number): Look<boolean> {
  const head = yield* bytesAt(0, 512);
  const version = le32(head, 4);
  // Without a capacity its reader would look for a descriptor, and the files to open, inside of it.
  return (
    head.length === 512 &&
    hasText(head, 0, 'KDMV') &&
    version >= 1 &&
    version <= 3 &&
    le64(head, 12) > 0 &&
    isPowerOfTwo(le64(head, 20)) &&
    le64(head, 20) <= 2 ** 21 &&
    le32(head, 44) >= 1 &&
    le32(head, 44) <= 512 &&
    le64(head, 56) * 512 < size
  );
}

function pieceOf(line: string): VmdkPiece | string {
  const parts = /^\S+\s+(\d+)\s+(\S+)\s+"([^"]*)"(?:\s+(\d+))?$/.exec(line);
  const [, count = '', kind = '', name = '', start = '0'] = parts ?? [];
  const sectors = Number(count);
  const startSector = Number(start);
  if (parts === null || !(sectors > 0) || sectors > MOST_SECTORS || startSector > MOST_SECTORS) {
    return 'Its descriptor has an extent line that cannot be read.';
  }
  switch (kind.toUpperCase()) {
    case 'SPARSE':
      return { kind: 'sparse', sectors, name };
    case 'FLAT':
      return { kind: 'flat', sectors, name, startSector };
    default:
      return 'Its descriptor has an extent of a kind that is not read here.';
  }
}

function settingOf(line: string): null | string {
  const parts = /^([\w.]+)\s*=\s*"?([^"]*)"?$/.exec(line);
  if (parts === null) return 'Its descriptor has a line that cannot be read.';
  const [, key = '', value = ''] = parts;
  if (/^createtype$/i.test(key) && !kinds.includes(value.toLowerCase()))
    return 'It is of a kind that is not read here.';
  if (/^parentcid$/i.test(key) && value.toLowerCase() !== 'ffffffff')
    return 'It holds only the differences to a parent.';
  return /^(parentFileNameHint|changeTrackPath)$/i.test(key) ? 'Its descriptor names another file.' : null;
}
