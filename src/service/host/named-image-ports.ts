/** What an agent knows by name of what lies on its Stores: one record for each Upload that said a name. */
export interface NamedImage {
  readonly name: string;
  /** Who made it says it: control's id of the Image, or what a client that spoke to this agent alone called it. */
  readonly imageId: string;
  readonly uploadId: string;
  readonly storeId: string;
  readonly key: string;
  /** Made by a client of this agent, past control: nobody else will remove it. */
  readonly alone: boolean;
}

/** Kept in files; what resolves survives a restart. */
export interface NamedImageFolder {
  all(): readonly NamedImage[];
  save(image: NamedImage): Promise<void>;
  /** Those with this Upload or these bytes; removing what is not there succeeds. */
  remove(which: { readonly uploadId: string } | { readonly storeId: string; readonly key: string }): Promise<void>;
}
