import { be16, be32, hasText, u8 } from './fields.ts';
import { type Finding, type Format, judged, safe, unsafe } from './format.ts';
import { bytesAt, type Look } from './look.ts';

/**
 * Optical images. A hybrid one has a partition table at its head too and is still an ISO.
 * Source: ECMA-119 (volume descriptors from sector 16), ECMA-167 (UDF's recognition sequence at the same place).
 */
export const iso: Format = {
  format: 'iso',
  harmless: true,
  *recognise(): Look<boolean> {
    const id = yield* bytesAt(32769, 5);
    return ['CD001', 'BEA01', 'NSR02', 'NSR03'].some((known) => hasText(id, 0, known));
  },
};

/** Encrypted by LUKS, version 1 or 2. Source: LUKS1 On-Disk Format Specification; LUKS2's shares magic and version field. */
export const luks: Format = {
  format: 'luks',
  harmless: true,
  *recognise(): Look<boolean> {
    return hasText(yield* bytesAt(0, 6), 0, 'LUKS\xba\xbe');
  },
  *judge(size: number | undefined): Look<Finding> {
    const head = yield* bytesAt(0, 592);
    const version = be16(head, 6);
    if (version !== 1 && version !== 2) return unsafe(`It has LUKS version ${version}; 1 and 2 are accepted.`);
    if (version === 2 || size === undefined) return safe(null);
    const payload = be32(head, 104) * 512;
    return judged(Math.max(0, size - payload), [
      payload > size && 'Its payload lies beyond the end of the file: it was cut off. Send it again.',
    ]);
  },
};

/** RFC 1952, deflate being the only method there is. */
export const gz: Format = compressed('gz', [0x1f, 0x8b, 0x08]);
/** The .xz file format 1.1. */
export const xz: Format = compressed('xz', [0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00]);
/** RFC 8878. */
export const zst: Format = compressed('zst', [0x28, 0xb5, 0x2f, 0xfd]);

function compressed(format: 'gz' | 'xz' | 'zst', magic: readonly number[]): Format {
  return {
    format,
    harmless: true,
    *recognise(): Look<boolean> {
      const head = yield* bytesAt(0, magic.length);
      return magic.every((byte, i) => head.length > i && u8(head, i) === byte);
    },
  };
}
