/** What a file can be. `raw` is anything that is none of the others: a disk as a machine sees it. */
export const imageFormats = ['raw', 'qcow2', 'vmdk', 'vhd', 'vhdx', 'vdi', 'iso', 'gz', 'xz', 'zst', 'luks'] as const;
export type ImageFormat = (typeof imageFormats)[number];

/** What a look at the head and tail of a file says. */
export type FormatVerdict =
  | { readonly kind: 'safe'; readonly format: ImageFormat; readonly virtualSize: number }
  | {
      readonly kind: 'unsafe';
      readonly format: ImageFormat;
      /** For the person who sent it: what was found and what to do. */
      readonly reason: string;
    };
