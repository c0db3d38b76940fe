import type { UploadResource } from '../../../src/contract/api/upload.ts';
import { signalStore } from '../parts/signal-store.ts';
import { uploadBoard } from './upload-board.ts';
import { waitingFor } from './waiting-uploads.ts';

/** From a file of this computer, from a URL, or from another Image. */
export type CreateWay = 'file' | 'url' | 'clone';

export interface CreateDialog {
  readonly opened: boolean;
  readonly files: readonly File[];
  /** Which way it is opened; what else is filled in. */
  readonly way?: CreateWay | undefined;
  readonly from?: { readonly imageId: string; readonly name: string } | undefined;
  /** Fill this failed Image again: one file only. */
  readonly again?: { readonly imageId: string; readonly name: string } | undefined;
}

export const createDialog = signalStore<CreateDialog>({ opened: false, files: [] });

export function openCreateDialog(files: readonly File[] = [], again?: CreateDialog['again']): void {
  createDialog.set({ opened: true, files, again });
}

export function openCloneDialog(from: { readonly imageId: string; readonly name: string }): void {
  createDialog.set({ opened: true, files: [], way: 'clone', from: { ...from, name: `${from.name} (clone)` } });
}

/**
 * Takes files that were dropped on the page or picked: those of a waiting Upload go on at once, the
 * others are offered in the dialog. Returns how many go on.
 */
export function takeFiles(files: readonly File[], waiting: readonly UploadResource[]): number {
  const fresh: File[] = [];
  for (const file of files) {
    const upload = waitingFor(file, waiting);
    if (upload === undefined) fresh.push(file);
    else uploadBoard.add(file, { name: upload.name, format: upload.format }, upload);
  }
  if (fresh.length > 0) openCreateDialog(fresh);
  return files.length - fresh.length;
}
