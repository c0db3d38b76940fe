/**
 * Fields of a header. Outside the bytes they read as 0: a truncated header then fails its own checks.
 * 64-bit fields are plain numbers, inexact above 2^53, where every use only compares with a limit.
 */
export function u8(bytes: Uint8Array, offset: number): number {
  return bytes[offset] ?? 0;
}

export function be16(bytes: Uint8Array, offset: number): number {
  return u8(bytes, offset) * 0x100 + u8(bytes, offset + 1);
}

export function be32(bytes: Uint8Array, offset: number): number {
  return be16(bytes, offset) * 0x10000 + be16(bytes, offset + 2);
}

export function be64(bytes: Uint8Array, offset: number): number {
  return be32(bytes, offset) * 0x1_0000_0000 + be32(bytes, offset + 4);
}

export function le16(bytes: Uint8Array, offset: number): number {
  return u8(bytes, offset + 1) * 0x100 + u8(bytes, offset);
}

export function le32(bytes: Uint8Array, offset: number): number {
  return le16(bytes, offset + 2) * 0x10000 + le16(bytes, offset);
}

export function le64(bytes: Uint8Array, offset: number): number {
  return le32(bytes, offset + 4) * 0x1_0000_0000 + le32(bytes, offset);
}

/** Whether `text` (latin-1) stands at `offset`. */
export function hasText(bytes: Uint8Array, offset: number, text: string): boolean {
  if (offset + text.length > bytes.length) return false;
  for (let i = 0; i < text.length; i++) if (bytes[offset + i] !== text.charCodeAt(i)) return false;
  return true;
}

export function latin1(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('latin1');
}

export function isZero(bytes: Uint8Array): boolean {
  return bytes.every((byte) => byte === 0);
}

export function isPowerOfTwo(value: number): boolean {
  return value >= 1 && Number.isInteger(Math.log2(value));
}
