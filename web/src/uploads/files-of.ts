/** The files of a drop. A folder arrives as a File as well; only its entry tells. */
export function filesOf(transfer: DataTransfer): { readonly files: readonly File[]; readonly folders: number } {
  const files: File[] = [];
  let folders = 0;
  for (const item of transfer.items) {
    if (item.kind !== 'file') continue;
    if (item.webkitGetAsEntry()?.isDirectory) {
      folders++;
      continue;
    }
    const file = item.getAsFile();
    if (file !== null) files.push(file);
  }
  return { files, folders };
}
