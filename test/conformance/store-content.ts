import { expect, type test } from 'vitest';
import type { ErrorCode } from '../../src/core/errors.ts';
import type { BlockReader, BlockWriter, Extent, Store } from '../../src/stores/store.ts';
import type { testWith } from '../needs.ts';

export const MiB = 1024 * 1024;

/** How a test case is declared. */
export type Declare = typeof test | ReturnType<typeof testWith>;
export type Given = () => Promise<StorePlace>;

/** A Store made for one test. */
export interface StorePlace extends AsyncDisposable {
  readonly store: Store;
  /** Another Store over the same bytes while the first one's writers hang open: as after kill -9. */
  readonly restart?: () => Promise<Store>;
}

export async function expectCode(code: ErrorCode, promise: Promise<unknown>): Promise<void> {
  await expect(promise).rejects.toMatchObject({ name: 'HawserError', code });
}

/** As toEqual, which takes seconds for a few MiB. */
export function expectBytes(found: Uint8Array, wanted: Uint8Array): void {
  expect(found.length).toBe(wanted.length);
  if (Buffer.compare(found, wanted) === 0) return;
  const offset = found.findIndex((byte, i) => byte !== wanted[i]);
  expect({ offset, bytes: [...found.subarray(offset, offset + 16)] }).toEqual({
    offset,
    bytes: [...wanted.subarray(offset, offset + 16)],
  });
}

/** Bytes that differ by seed and place and are never all zeros in a page. */
export function pattern(length: number, seed: number): Uint8Array {
  const bytes = new Uint8Array(length);
  let x = (seed * 2_654_435_761 + 1) >>> 0;
  for (let i = 0; i < length; i++) {
    x = (Math.imul(x, 1_664_525) + 1_013_904_223) >>> 0;
    bytes[i] = (x >>> 24) | 1;
  }
  return bytes;
}

export async function put(store: Store, key: string, content: Uint8Array): Promise<void> {
  await using writer = await store.create({ key, size: content.length });
  await writer.write(content, 0);
  await writer.seal(content.length);
}

export async function contentOf(store: Store, key: string): Promise<Uint8Array> {
  await using reader = await store.open(key);
  const into = new Uint8Array(reader.size);
  await reader.read(into, 0);
  return into;
}

export async function readBack(from: BlockWriter | BlockReader, offset: number, length: number): Promise<Uint8Array> {
  const into = new Uint8Array(length).fill(0xee);
  await from.read(into, offset);
  return into;
}

export async function collect<T>(items: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const item of items) all.push(item);
  return all;
}

export function checkExtents(
  extents: readonly Extent[],
  range: { readonly offset: number; readonly end: number },
  content: Uint8Array,
): void {
  let at = range.offset;
  let before: string | undefined;
  for (const { offset, length, kind } of extents) {
    expect(offset).toBe(at);
    expect(length).toBeGreaterThan(0);
    expect(kind).not.toBe(before);
    if (kind === 'hole') expect(isZero(content.subarray(offset, offset + length))).toBe(true);
    at += length;
    before = kind;
  }
  expect(at).toBe(range.end);
}

function isZero(bytes: Uint8Array): boolean {
  return Buffer.compare(bytes, new Uint8Array(bytes.length)) === 0;
}
