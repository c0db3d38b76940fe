/** A Store as people know it: most hosts call theirs the same. */
export function storeTitle(store: { readonly name: string; readonly hostName: string }): string {
  return `store "${store.name}" of host "${store.hostName}"`;
}

/** The same of the Store that a Copy lies on. */
export function copyStoreTitle(copy: { readonly storeName: string; readonly hostName: string }): string {
  return storeTitle({ name: copy.storeName, hostName: copy.hostName });
}
