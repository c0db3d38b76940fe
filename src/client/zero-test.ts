/** Whether every byte is zero. Data ends it at the first word that is not. */
export function isZero(bytes: Uint8Array): boolean {
  const lead = Math.min(bytes.length, (4 - (bytes.byteOffset % 4)) % 4);
  for (let i = 0; i < lead; i++) if (bytes[i] !== 0) return false;
  if (lead === bytes.length) return true;
  const words = new Int32Array(bytes.buffer, bytes.byteOffset + lead, Math.floor((bytes.length - lead) / 4));
  for (let i = 0; i < words.length; i++) if (words[i] !== 0) return false;
  for (let i = lead + words.length * 4; i < bytes.length; i++) if (bytes[i] !== 0) return false;
  return true;
}
