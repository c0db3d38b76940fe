import type { UploadResource } from '../../../src/contract/api/upload.ts';

/** The file's name as the Upload's fingerprint has it, when the Image was named otherwise. */
export function fileNameOf(upload: UploadResource): string {
  return fileNameIn(upload.fingerprint) ?? upload.name;
}

/** `apart` keeps it from being taken for an earlier Upload of a file with the same name, size and time. */
export function fingerprintOf(file: File, apart?: string): string {
  return JSON.stringify({ file: file.name, size: file.size, changed: file.lastModified, apart });
}

function fileNameIn(fingerprint: string | null): string | undefined {
  try {
    const value = JSON.parse(fingerprint ?? 'null') as { readonly file?: unknown } | null;
    return typeof value?.file === 'string' ? value.file : undefined;
  } catch {
    return undefined;
  }
}
