import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type ChainFile, checkChain } from './chain.ts';
import { MemoryReader } from './testing/memory-reader.ts';
import { GIB, type Patch, patched, qcow2Sample, vmdkSample } from './testing/samples.ts';

class MemoryFile extends MemoryReader implements ChainFile {
  readonly identity: string;

  constructor(identity: string, bytes: Uint8Array) {
    super(bytes);
    this.identity = identity;
  }
}

/** Files by name; what is not there is `absent`. */
function given(files: Readonly<Record<string, Uint8Array>>) {
  const asked: string[] = [];
  const open = async (name: string) => {
    asked.push(name);
    const bytes = files[name];
    if (bytes === undefined) throw new Error('absent');
    return new MemoryFile(name, bytes);
  };
  const top = new MemoryFile('top', files.top ?? new Uint8Array(0));
  return {
    asked,
    check: (format: 'qcow2' | 'vmdk' | 'raw', references: 'refused' | 'allowed' = 'allowed') =>
      checkChain({ file: top, format, references, open }),
  };
}

/** A qcow2 that stands on `name`; without a format it does not say of which one it is. */
function on(name: string, format: string | null = 'raw'): Uint8Array {
  const at = 0x2000;
  const patches: Patch[] = [
    { at: 8, be64: BigInt(at) },
    { at: 16, be32: name.length },
    { at, text: name },
  ];
  if (format !== null)
    patches.push({ at: 104, be32: 0xe2792aca }, { at: 108, be32: format.length }, { at: 112, text: format });
  return patched(qcow2Sample(), ...patches);
}

function withDataFile(name: string): Uint8Array {
  return patched(
    qcow2Sample(),
    { at: 76, be32: 4 },
    { at: 104, be32: 0x44415441 },
    { at: 108, be32: name.length },
    { at: 112, text: name },
  );
}

const pieces = (...lines: readonly string[]) =>
  Buffer.from(
    [
      '# Disk DescriptorFile',
      'version=1',
      'CID=1',
      'parentCID=ffffffff',
      'createType="twoGbMaxExtentFlat"',
      ...lines,
    ].join('\n'),
  );

const unsafe = expect.objectContaining({ code: 'format-unsafe' });

describe('what stands alone', () => {
  test('is one layer, whether references are allowed or not', async () => {
    for (const references of ['refused', 'allowed'] as const) {
      const { check, asked } = given({ top: qcow2Sample() });
      const layer = { format: 'qcow2', virtualSize: GIB, backing: null, dataFile: null, extents: null };
      expect(await check('qcow2', references)).toMatchObject(layer);
      expect(asked).toEqual([]);
    }
  });

  test('is of the format that was said', async () => {
    await expect(given({ top: qcow2Sample() }).check('raw')).rejects.toMatchObject({ code: 'format-mismatch' });
    await expect(given({ top: new Uint8Array(512) }).check('qcow2')).rejects.toMatchObject({ code: 'format-mismatch' });
    expect(await given({ top: vmdkSample() }).check('vmdk')).toMatchObject({ format: 'vmdk', extents: null });
  });
});

describe('a chain', () => {
  const files = { top: on('middle', 'qcow2'), middle: on('base'), base: new Uint8Array(4096) };

  test('is followed when it is allowed, and not even opened when not', async () => {
    const allowed = given(files);
    expect(await allowed.check('qcow2')).toMatchObject({
      file: { identity: 'top' },
      backing: { file: { identity: 'middle' }, backing: { file: { identity: 'base' }, format: 'raw', backing: null } },
    });
    const refused = given(files);
    await expect(refused.check('qcow2', 'refused')).rejects.toEqual(unsafe);
    expect(refused.asked).toEqual([]);
  });

  test.each([
    ['without a format', { top: on('base', null) }],
    ['of an unknown format', { top: on('base', 'qed') }],
    ['on a protocol', { top: on('nbd://127.0.0.1/x') }],
    ['on a JSON name', { top: on('json:{}') }],
    ['on itself', { top: on('a', 'qcow2'), a: on('b', 'qcow2'), b: on('a', 'qcow2') }],
    [
      'on a base that a guest made to look like a qcow2 with a backing file',
      { top: on('base'), base: on('/etc/passwd') },
    ],
  ])('%s is refused', async (_name, bytes) => {
    await expect(given(bytes).check('qcow2')).rejects.toEqual(unsafe);
  });

  test('of forty files is too long', async () => {
    const many = Object.fromEntries(Array.from({ length: 40 }, (_, i) => [`f${i}`, on(`f${i + 1}`, 'qcow2')]));
    await expect(given({ ...many, top: on('f0', 'qcow2') }).check('qcow2')).rejects.toEqual(unsafe);
  });

  test('a data file is opened when it is allowed, and not looked into: it is the guest that wrote it', async () => {
    const split = given({ top: withDataFile('data'), data: on('/etc/passwd') });
    expect(await split.check('qcow2')).toMatchObject({ dataFile: { identity: 'data' }, backing: null });
    await expect(given({ top: withDataFile('data') }).check('qcow2', 'refused')).rejects.toEqual(unsafe);
  });
});

describe('a VMDK of several files', () => {
  test('has its pieces in order', async () => {
    const top = pieces('RW 4 FLAT "one" 2', 'RW 8 FLAT "two" 0');
    const { check } = given({ top, one: new Uint8Array(3072), two: new Uint8Array(4096) });
    expect(await check('vmdk')).toMatchObject({
      virtualSize: 12 * 512,
      extents: [
        { kind: 'flat', sectors: 4, startSector: 2, file: { identity: 'one' } },
        { kind: 'flat', sectors: 8, startSector: 0, file: { identity: 'two' } },
      ],
    });
  });

  test.each([
    ['cut off', ['RW 9 FLAT "two" 0']],
    ['twice the same', ['RW 4 FLAT "two" 0', 'RW 4 FLAT "two" 4']],
    ['with nothing to access', ['NOACCESS 8 FLAT "two" 0']],
    ['of zeros, which QEMU leaves out', ['RW 8 ZERO']],
    ['on a device', ['RW 8 VMFSRDM "two"']],
    ['with a sparse piece that is none', ['RW 8 SPARSE "two"']],
    ['with a parent', ['parentFileNameHint="base.vmdk"', 'RW 8 FLAT "two" 0']],
    ['with a change track', ['changeTrackPath="x"', 'RW 8 FLAT "two" 0']],
    ['with no pieces', []],
    ['with a negative size', ['RW -8 FLAT "two" 0']],
  ])('%s is refused', async (_name, lines) => {
    await expect(given({ top: pieces(...lines), two: new Uint8Array(4096) }).check('vmdk')).rejects.toEqual(unsafe);
  });
});

test('whatever stands in a header: a verdict, no file but those it names, and none when they are refused', async () => {
  const samples = [on('base'), on('middle', 'qcow2'), withDataFile('base'), pieces('RW 8 FLAT "base" 0')];
  const change = fc.record({ at: fc.nat(130), byte: fc.nat(255) });
  await fc.assert(
    fc.asyncProperty(fc.constantFrom(...samples), fc.array(change, { maxLength: 6 }), async (sample, changes) => {
      const top = Uint8Array.from(sample);
      for (const { at, byte } of changes) if (at < top.length) top[at] = byte;
      const files = { top, middle: on('base'), base: new Uint8Array(4096) };
      for (const references of ['refused', 'allowed'] as const) {
        for (const format of ['qcow2', 'vmdk'] as const) {
          const { check, asked } = given(files);
          const error: unknown = await check(format, references).then(
            () => undefined,
            (found: unknown) => found,
          );
          if (error !== undefined) expect(String(error)).toMatch(/HawserError|absent/);
          if (references === 'refused') expect(asked).toEqual([]);
        }
      }
    }),
    { numRuns: 300 },
  );
});
