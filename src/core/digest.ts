import { HawserError } from './errors.ts';

/**
 * `tree-sha256` is Hawser's own: SHA-256 over the concatenated SHA-256s of the content's 1 MiB blocks
 * (the last one short, never padded); of no content: SHA-256 of nothing. The others are flat digests
 * of the content in order.
 */
export const digestAlgorithms = ['tree-sha256', 'sha256', 'sha512', 'md5'] as const;
export type DigestAlgorithm = (typeof digestAlgorithms)[number];

/** Bytes in one block of the digest tree. */
export const TREE_BLOCK = 1024 * 1024;
/** Bytes of one leaf: a SHA-256. */
export const LEAF_BYTES = 32;
/** SHA-256 of one whole block of zeros, so that a hole is never hashed. */
export const ZERO_BLOCK_LEAF = '30e14955ebf1352266dc2ff8067e68104607e750abb9d3b36582b8af909fcb58';

const hexLength = { 'tree-sha256': 64, sha256: 64, sha512: 128, md5: 32 } as const satisfies Record<
  DigestAlgorithm,
  number
>;

export interface Digest {
  readonly algorithm: DigestAlgorithm;
  /** Lower-case hexadecimal. */
  readonly hex: string;
}

export function formatDigest(digest: Digest): string {
  return `${digest.algorithm}:${digest.hex}`;
}

/** Parses `algorithm:hex`. Throws `bad-request`. */
export function parseDigest(text: string): Digest {
  const colon = text.indexOf(':');
  const algorithm = digestAlgorithms.find((known) => known === text.slice(0, Math.max(colon, 0)).toLowerCase());
  const hex = text.slice(colon + 1).toLowerCase();
  if (algorithm === undefined || hex.length !== hexLength[algorithm] || !/^[0-9a-f]+$/.test(hex)) {
    throw new HawserError(
      'bad-request',
      `A digest is written algorithm:hex with one of ${digestAlgorithms.join(', ')} (for example sha256:9f86d0…, 64 digits); found "${text.slice(0, 160)}".`,
    );
  }
  return { algorithm, hex };
}

/** How many leaves the tree over `size` bytes has. */
export function leafCount(size: number): number {
  return Math.ceil(size / TREE_BLOCK);
}

/** The length of block `index` of content of `size` bytes. */
export function blockLength(size: number, index: number): number {
  return Math.min(TREE_BLOCK, size - index * TREE_BLOCK);
}
