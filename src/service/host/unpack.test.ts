import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { promisify } from 'node:util';
import { gzipSync, zstdCompressSync } from 'node:zlib';
import { describe, expect, test } from 'vitest';
import { testWith } from '../../../test/needs.ts';
import { isHawserError } from '../../core/errors.ts';
import { sourceOf } from '../../engine/testing/rig.ts';
import { packingOf, unpackedIfPacked } from './unpack.ts';

const MiB = 1024 * 1024;
const never = new AbortController().signal;
const content = Buffer.concat([randomBytes(MiB / 2 + 7), Buffer.alloc(5 * MiB), randomBytes(MiB)]);

async function unpack(packed: Buffer, step?: number): Promise<Buffer> {
  if (packingOf(packed) === undefined) throw new Error('not packed');
  const chunks: Buffer[] = [];
  await unpackedIfPacked(sourceOf(packed, step), notPlain).drain(
    (chunk) => void chunks.push(Buffer.from(chunk)),
    never,
  );
  return Buffer.concat(chunks);
}

const notPlain = () => Promise.reject(new Error('it is packed'));
const failsWith = (code: Parameters<typeof isHawserError>[1]) => (error: unknown) => isHawserError(error, code);

/** By the tool, with its input on a pipe. */
function packedBy(tool: string, ...options: readonly string[]): Promise<Buffer> {
  const run = promisify(execFile)(tool, [...options, '-c'], { encoding: 'buffer', maxBuffer: 64 * MiB });
  run.child.stdin?.end(content);
  return run.then(({ stdout }) => stdout);
}

describe.each([
  ['gzip', (bytes: Buffer) => gzipSync(bytes, { level: 1 })],
  ['zstd', (bytes: Buffer) => zstdCompressSync(bytes)],
] as const)('%s', (name, pack) => {
  const packed = pack(content);

  test.each([1000, 65_536, 100 * MiB])('in chunks of %i bytes', async (step) => {
    expect(packingOf(packed)).toBe(name);
    expect((await unpack(packed, step)).equals(content)).toBe(true);
  });

  test('several of them one after the other are one content', async () => {
    const two = Buffer.concat([packed, pack(randomBytes(0)), packed]);
    for (const step of [65_536, packed.length, 100 * MiB])
      expect((await unpack(two, step)).equals(Buffer.concat([content, content]))).toBe(true);
  });

  const padding = 'hung when more zeros than are under way at once lay behind the content';
  // Only gzip allows zeros behind the content.
  const testPadding = name === 'gzip' ? test : undefined;
  testPadding?.(padding, async () => {
    const padded = Buffer.concat([packed, Buffer.alloc(2 * MiB)]);
    for (const step of [65_536, packed.length, 100 * MiB])
      expect((await unpack(padded, step)).equals(content)).toBe(true);
  });

  test('one that was cut off is corrupt, wherever it was cut', async () => {
    for (const length of [10, MiB, packed.length - 1]) {
      await expect(unpack(packed.subarray(0, length))).rejects.toSatisfy(failsWith('corrupt'));
    }
  });

  test('one with a wrong byte is corrupt', async () => {
    const wrong = Buffer.from(packed);
    wrong[7] = (wrong[7] ?? 0) ^ 0xff;
    wrong[packed.length - 9] = (wrong[packed.length - 9] ?? 0) ^ 0xff;
    wrong[MiB / 2] = (wrong[MiB / 2] ?? 0) ^ 0xff;
    const outcome = await unpack(wrong).catch((error: unknown) => error);
    // Data that was not compressed has no check of its own in zstd; then only its bytes tell.
    if (Buffer.isBuffer(outcome)) expect(outcome.equals(content)).toBe(false);
    else expect(outcome).toSatisfy(failsWith('corrupt'));
  });

  test('what the taker throws ends it, and so does an abort', async () => {
    const full = new Error('full');
    const refuse = unpackedIfPacked(sourceOf(packed), notPlain).drain(() => Promise.reject(full), never);
    await expect(refuse).rejects.toBe(full);
    const stop = new AbortController();
    const stopped = unpackedIfPacked(sourceOf(packed), notPlain).drain(() => {
      stop.abort(full);
      return undefined;
    }, stop.signal);
    await expect(stopped).rejects.toBe(full);
  });

  test('a source that breaks off is told as that, not as damage', async () => {
    const broken = unpackedIfPacked(sourceOf(packed, 65_536, 2 * 65_536), notPlain).drain(() => undefined, never);
    await expect(broken).rejects.toThrow('cut');
  });
});

test.each([0, 1, 5, 6, 7, 100_000])('%i bytes that are not packed pass as they are, after plain', async (length) => {
  const bytes = randomBytes(length).fill('x', 0, Math.min(6, length));
  const seen: Buffer[] = [];
  const plain = async () => void seen.push(Buffer.from('plain'));
  const source = unpackedIfPacked(sourceOf(bytes, 4), plain);
  await source.drain((chunk) => void seen.push(Buffer.from(chunk)), never);
  expect(Buffer.concat(seen).equals(Buffer.concat([Buffer.from('plain'), bytes]))).toBe(true);
});

describe('xz', () => {
  const xz = testWith('xz');

  for (const options of [[], ['-9e'], ['-0'], ['--check=crc32'], ['--check=none'], ['-T2', '--block-size=1MiB']]) {
    xz(`made with [${options.join(' ')}]`, async () => {
      const packed = await packedBy('xz', ...options);
      for (const step of [7777, 100 * MiB]) expect((await unpack(packed, step)).equals(content)).toBe(true);
    });
  }

  xz('several of them one after the other, with padding, are one content', async () => {
    const packed = await packedBy('xz');
    const two = Buffer.concat([packed, packed, Buffer.alloc(8)]);
    expect((await unpack(two)).equals(Buffer.concat([content, content]))).toBe(true);
  });

  xz('one that was cut off or damaged is corrupt', async () => {
    const packed = await packedBy('xz');
    for (const length of [10, MiB, packed.length - 1])
      await expect(unpack(packed.subarray(0, length))).rejects.toSatisfy(failsWith('corrupt'));
    const wrong = Buffer.from(packed);
    wrong[MiB / 2] = (wrong[MiB / 2] ?? 0) ^ 0xff;
    await expect(unpack(wrong)).rejects.toSatisfy(failsWith('corrupt'));
  });

  xz('one with a check or a dictionary that is too much says what to do', async () => {
    for (const option of ['--check=sha256', '--lzma2=dict=128MiB'])
      await expect(unpack(await packedBy('xz', option))).rejects.toSatisfy(failsWith('unsupported'));
  });
});
