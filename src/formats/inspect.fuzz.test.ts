import fc from 'fast-check';
import { expect, test } from 'vitest';
import { imageFormats } from '../core/formats.ts';
import type { DeclaredFormat } from '../core/nouns.ts';
import { earlyVerdict, inspect } from './inspect.ts';
import { MemoryReader } from './testing/memory-reader.ts';
import {
  fixedVhdSample,
  gptSample,
  isoSample,
  qcow2Sample,
  vdiSample,
  vhdSample,
  vhdxSample,
  vmdkSample,
} from './testing/samples.ts';
import { verdictError } from './verdict.ts';

const samples = [
  qcow2Sample(),
  vmdkSample(),
  vhdSample(),
  vhdxSample(),
  vdiSample(),
  isoSample(),
  gptSample(),
  fixedVhdSample(new Uint8Array(4096)),
];
const declaredFormat = fc.constantFrom<DeclaredFormat>('auto', ...imageFormats);

/** Bytes written over a good file where its headers are, and the file cut somewhere. */
const hostileFile = fc
  .record({
    sample: fc.nat(samples.length - 1),
    changes: fc.array(fc.record({ at: fc.nat(2 ** 20), near: fc.nat(600), byte: fc.nat(255), word: fc.boolean() }), {
      maxLength: 8,
    }),
    cut: fc.option(fc.nat(2 ** 21)),
  })
  .map(({ sample, changes, cut }) => {
    const bytes = Uint8Array.from(samples[sample]!);
    for (const { at, near, byte, word } of changes) {
      const anchor = [0, 512, 65536, 192 * 1024, 512 * 1024, bytes.length - 600][at % 6]!;
      const place = Math.max(0, Math.min(bytes.length - 4, anchor + near));
      bytes.fill(byte, place, place + (word ? 4 : 1));
    }
    return cut === null ? bytes : bytes.subarray(0, cut);
  });

test('hostile files are answered with a verdict, by few reads inside the file, and early is never stricter', async () => {
  await fc.assert(
    fc.asyncProperty(hostileFile, declaredFormat, fc.nat(2 ** 20), async (bytes, declared, headLength) => {
      const reader = new MemoryReader(bytes);
      const verdict = await inspect(reader, { declared });
      expect(reader.reads).toBeLessThan(24);
      expect(reader.bytesRead).toBeLessThan(4 * 2 ** 20);
      if (verdict.kind === 'safe') expect(Number.isSafeInteger(verdict.virtualSize)).toBe(true);
      if (verdictError(earlyVerdict(bytes.subarray(0, headLength), declared), declared) !== undefined) {
        expect(verdictError(verdict, declared)).toBeDefined();
      }
    }),
    { numRuns: 3000 },
  );
});

test('random bytes behind each magic are answered with a verdict', async () => {
  const magics = [
    '',
    'QFI\xfb\0\0\0\x03',
    'QFI\xfb\0\0\0\x02',
    'KDMV\x01\0\0\0',
    '# Disk DescriptorFile\n',
    'conectix',
    'vhdxfile',
    'LUKS\xba\xbe',
    'COWD',
    'version=1\n',
  ];
  await fc.assert(
    fc.asyncProperty(
      fc.constantFrom(...magics),
      fc.uint8Array({ maxLength: 4096 }),
      declaredFormat,
      async (magic, rest, declared) => {
        const bytes = Buffer.concat([Buffer.from(magic, 'latin1'), rest]);
        const verdict = await inspect(new MemoryReader(bytes), { declared });
        expect(['safe', 'unsafe']).toContain(verdict.kind);
        if (verdictError(earlyVerdict(bytes, declared), declared) !== undefined) {
          expect(verdictError(verdict, declared)).toBeDefined();
        }
      },
    ),
    { numRuns: 2000 },
  );
});
