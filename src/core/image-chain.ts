import type { ImageFormat } from './formats.ts';

/**
 * An image as it was checked before a tool opens it: its file and every other file that it stands on. `File`
 * is whatever stands for an opened file; nobody looks a name up again after the check.
 */
export interface ImageLayer<File> {
  readonly file: File;
  readonly format: ImageFormat;
  /** Bytes that a guest sees. */
  readonly virtualSize: number;
  /** What shows through where this layer has nothing. */
  readonly backing: ImageLayer<File> | null;
  /** Where a qcow2 keeps its data when not in itself. */
  readonly dataFile: File | null;
  /** Where a VMDK of several files keeps its data; null: in itself. */
  readonly extents: readonly ImageExtent<File>[] | null;
}

/** A piece of a VMDK, in order. */
export type ImageExtent<File> =
  | { readonly kind: 'sparse'; readonly sectors: number; readonly file: File }
  | { readonly kind: 'flat'; readonly sectors: number; readonly file: File; readonly startSector: number };

/** Every file of the image once, the top first. */
export function filesOf<File>(layer: ImageLayer<File>): readonly File[] {
  const files: File[] = [];
  for (let at: ImageLayer<File> | null = layer; at !== null; at = at.backing) {
    files.push(at.file);
    if (at.dataFile !== null) files.push(at.dataFile);
    for (const extent of at.extents ?? []) files.push(extent.file);
  }
  return files;
}
