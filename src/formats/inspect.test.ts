import { describe, expect, test } from 'vitest';
import type { DeclaredFormat } from '../core/nouns.ts';
import { MAX_VIRTUAL_SIZE } from './format.ts';
import { earlyVerdict, inspect } from './inspect.ts';
import { MemoryReader } from './testing/memory-reader.ts';
import {
  fixedVhdSample,
  GIB,
  gptSample,
  isoSample,
  type Patch,
  patched,
  qcow2Sample,
  vdiSample,
  vhdSample,
  vhdxSample,
  vmdkDescriptor,
  vmdkSample,
  withVhdChecksum,
} from './testing/samples.ts';
import { verdictError } from './verdict.ts';

const text = (content: string) => Buffer.from(content, 'latin1');
const luks = patched(new Uint8Array(8192), { at: 0, text: 'LUKS\xba\xbe\0\x01' }, { at: 104, be32: 8 });

async function outcome(bytes: Uint8Array, declared: DeclaredFormat = 'auto'): Promise<string> {
  const verdict = await inspect(new MemoryReader(bytes), { declared });
  const error = verdictError(verdict, declared);
  if (error !== undefined) return `${error.code} ${String(error.details.found)}`;
  return verdict.kind === 'safe' ? `${verdict.format} ${verdict.virtualSize}` : 'unreachable';
}

async function reasonOf(bytes: Uint8Array): Promise<string> {
  const verdict = await inspect(new MemoryReader(bytes), { declared: 'auto' });
  expect(verdict.kind).toBe('unsafe');
  return verdict.kind === 'unsafe' ? verdict.reason : '';
}

describe('good files are found and their virtual size is told', () => {
  test.each<[string, Uint8Array, string]>([
    ['nothing at all', new Uint8Array(0), 'raw 0'],
    ['one byte', new Uint8Array(1), 'raw 1'],
    ['GPT', gptSample(), 'raw 65536'],
    ['qcow2', qcow2Sample(), `qcow2 ${GIB}`],
    ['qcow2 version 2', patched(qcow2Sample(), { at: 4, be32: 2 }), `qcow2 ${GIB}`],
    ['qcow2 with extended L2', patched(qcow2Sample(), { at: 76, be32: 16 }, { at: 36, be32: 4 }), `qcow2 ${GIB}`],
    ['qcow2 left dirty', patched(qcow2Sample(), { at: 76, be32: 1 }), `qcow2 ${GIB}`],
    ['vmdk', vmdkSample(), `vmdk ${GIB}`],
    ['vhd', vhdSample(), `vhd ${GIB}`],
    ['fixed vhd', fixedVhdSample(new Uint8Array(8192)), 'vhd 8192'],
    ['fixed vhd of an iso', fixedVhdSample(isoSample()), 'vhd 65536'],
    ['vhdx', vhdxSample(), `vhdx ${GIB}`],
    ['vdi', vdiSample(), `vdi ${GIB}`],
    ['fixed vdi', vdiSample(2), `vdi ${GIB}`],
    ['iso', isoSample(), 'iso 65536'],
    ['hybrid iso', patched(isoSample(), { at: 510, text: '\x55\xaa' }), 'iso 65536'],
    ['luks 1', luks, 'luks 4096'],
    ['luks 2', patched(luks, { at: 7, text: '\x02' }), 'luks 8192'],
    ['gz', text('\x1f\x8b\x08 and so on'), 'gz 13'],
    ['xz', text('\xfd7zXZ\0...'), 'xz 9'],
    ['zst', text('\x28\xb5\x2f\xfd...'), 'zst 7'],
    ['a text file', text('# notes\nhello\n'), 'raw 14'],
  ])('%s', async (_name, bytes, expected) => {
    expect(await outcome(bytes)).toBe(expected);
    expect(await outcome(bytes, expected.split(' ')[0] as DeclaredFormat)).toBe(expected);
  });
});

describe('qcow2 is refused', () => {
  const dataFileName: Patch[] = [
    { at: 104, be32: 0x44415441 },
    { at: 108, be32: 8 },
  ];
  test.each<[string, RegExp, Patch[]]>([
    [
      'with a backing file',
      /backing file/,
      [
        { at: 8, be64: 0x200n },
        { at: 16, be32: 11 },
      ],
    ],
    ['with the length of a backing file name alone', /backing file/, [{ at: 16, be32: 11 }]],
    ['with an external data file', /external file/, [{ at: 76, be32: 4 }]],
    ['with the name of an external data file', /external data file/, dataFileName],
    ['with an unknown incompatible bit', /unknown here/, [{ at: 76, be32: 32 }]],
    ['with an unknown incompatible high bit', /unknown here/, [{ at: 72, be32: 1 }]],
    ['with the top bit of the low word', /unknown here/, [{ at: 76, be32: 0x8000_0000 }]],
    ['when marked corrupt', /qemu-img check/, [{ at: 76, be32: 2 }]],
    ['with version 4', /version 4/, [{ at: 4, be32: 4 }]],
    ['with an absurd virtual size', /L1 table is too small/, [{ at: 24, be64: 1n << 60n }]],
    [
      'with an absurd virtual size that its tables could hold',
      /64 TiB/,
      [
        { at: 20, be32: 21 },
        { at: 24, be64: BigInt(MAX_VIRTUAL_SIZE) * 2n },
        { at: 36, be32: 4096 },
        { at: 40, be64: 0n },
        { at: 48, be64: 0n },
      ],
    ],
    ['with tiny clusters', /clusters/, [{ at: 20, be32: 8 }]],
    ['with huge clusters', /clusters/, [{ at: 20, be32: 22 }]],
    ['with 2^4294967295 clusters', /clusters/, [{ at: 20, be32: 0xffff_ffff }]],
    [
      'with subclusters below a sector',
      /clusters/,
      [
        { at: 76, be32: 16 },
        { at: 20, be32: 13 },
      ],
    ],
    ['with a header length of 0', /header length/, [{ at: 100, be32: 0 }]],
    ['with a header longer than a cluster', /header length/, [{ at: 100, be32: 65544 }]],
    ['with an odd header length', /header length/, [{ at: 100, be32: 105 }]],
    ['with a huge L1 table', /L1 table is too large/, [{ at: 36, be32: 0x0100_0000 }]],
    ['with a huge reference count table', /count table/, [{ at: 56, be32: 0x1000 }]],
    ['with a million snapshots', /snapshots/, [{ at: 60, be32: 1_000_000 }]],
    ['with an L1 table beyond the end', /cut off/, [{ at: 40, be64: 1n << 40n }]],
    ['with an L1 table between clusters', /begin at a cluster/, [{ at: 40, be64: 0x30001n }]],
    [
      'with an extension that leaves the header',
      /extension/,
      [
        { at: 104, be32: 0x6803f857 },
        { at: 108, be32: 0xffff_fff0 },
      ],
    ],
    [
      'with extensions without end',
      /do not end/,
      [
        { at: 20, be32: 21 },
        { at: 36, be32: 1 },
        { at: 40, be64: 0n },
        { at: 48, be64: 0n },
        { at: 104, be32: 0x12345678 },
        { at: 108, be32: 65536 - 112 },
      ],
    ],
    ['with unknown encryption', /encrypted/, [{ at: 32, be32: 3 }]],
  ])('%s', async (_name, reason, patches) => {
    const bytes = patched(qcow2Sample(), ...patches);
    expect(await reasonOf(bytes)).toMatch(reason);
    expect(await outcome(bytes, 'raw')).toBe('format-unsafe qcow2');
    if (!/cut off/.test(reason.source)) expect(earlyVerdict(bytes, 'auto')?.kind).toBe('unsafe');
  });

  test('unknown extensions are passed over', async () => {
    const bytes = patched(
      qcow2Sample(),
      { at: 104, be32: 0x12345678 },
      { at: 108, be32: 5 },
      { at: 120, be32: 0x44415441 },
    );
    expect(await reasonOf(bytes)).toMatch(/external data file/);
  });
});

describe('vmdk is refused', () => {
  const swap = (from: string, to: string) => vmdkSample(vmdkDescriptor.replace(from, to));
  test.each<[string, RegExp, Uint8Array]>([
    [
      'as a text descriptor',
      /descriptor that names/,
      text(vmdkDescriptor.replace('SPARSE "image.vmdk"', 'FLAT "/etc/passwd" 0')),
    ],
    [
      'as a text descriptor behind comments',
      /descriptor that names/,
      text('#\n\n  # x\nversion=1\nRW 1 FLAT "/etc/shadow" 0\n'),
    ],
    ['as an ESX sparse extent', /ESX/, text(`COWD${'\0'.repeat(600)}`)],
    ['without a capacity', /no size/, patched(vmdkSample(), { at: 12, le64: 0n })],
    ['without a descriptor', /one piece/, patched(vmdkSample(), { at: 36, le64: 0n })],
    ['with its descriptor elsewhere', /not behind/, patched(vmdkSample(), { at: 28, le64: 2n })],
    ['with a huge descriptor', /1 MiB/, patched(vmdkSample(), { at: 36, le64: 4096n })],
    ['with an extent that has a path', /path/, swap('image.vmdk', '/etc/passwd')],
    ['with an extent that has a Windows path', /path/, swap('image.vmdk', 'C:x.vmdk')],
    ['with a flat extent', /FLAT/, swap('SPARSE', 'FLAT')],
    ['with two extents', /2 extents/, swap('\n#DDB', '\nRW 1 SPARSE "b.vmdk"\n#DDB')],
    ['as monolithicFlat', /monolithicFlat/, swap('monolithicSparse', 'monolithicFlat')],
    ['with a second kind in a comment', /2 lines/, swap('#DDB', '# createType="monolithicFlat"')],
    ['with a parent', /parent/, swap('ffffffff', '12345678')],
    ['with the name of a parent', /another file/, swap('#DDB', 'parentFileNameHint="/x"')],
    ['with a line that is none', /cannot be read/, swap('#DDB', 'hello there')],
    ['with its footer missing', /cut off/, patched(vmdkSample(), { at: 56, le64: 0xffff_ffff_ffff_ffffn })],
    ['with 3 sectors a grain', /grains/, patched(vmdkSample(), { at: 20, le64: 3n })],
    ['with 1 EiB', /64 TiB/, patched(vmdkSample(), { at: 12, le64: 1n << 51n })],
  ])('%s', async (_name, reason, bytes) => {
    expect(await reasonOf(bytes)).toMatch(reason);
    expect(await outcome(bytes, 'raw')).toBe('format-unsafe vmdk');
  });

  test('when its footer says something else than its header', async () => {
    const bytes = patched(vmdkSample(), { at: 56, le64: 0xffff_ffff_ffff_ffffn });
    const footer = bytes.length - 1024;
    bytes.set(bytes.subarray(0, 512), footer);
    const good = patched(bytes, { at: footer + 56, le64: 26n });
    expect(await outcome(good)).toBe(`vmdk ${GIB}`);
    expect(await reasonOf(patched(good, { at: footer + 12, le64: 0n }))).toMatch(/footer says something else/);
  });
});

describe('vhd, vhdx, vdi and others are refused', () => {
  const badHeader = patched(vhdSample(), { at: 64, be32: 1 });
  const brokenLog = vhdxSample({ log: true });
  test.each<[string, RegExp, string, Uint8Array]>([
    ['differencing vhd', /parent/, 'vhd', vhdSample(4)],
    ['vhd with a wrong checksum', /checksum/, 'vhd', badHeader],
    ['fixed vhd with a footer at its head', /kind 2/, 'vhd', vhdSample(2)],
    ['vhd without its second header', /second header/, 'vhd', patched(vhdSample(), { at: 512, text: 'x' })],
    ['vhd with odd blocks', /blocks/, 'vhd', patched(vhdSample(), { at: 512 + 32, be32: 12345 })],
    ['vhd with a small table', /table/, 'vhd', patched(vhdSample(), { at: 512 + 28, be32: 1 })],
    ['differencing vhdx', /parent/, 'vhdx', vhdxSample({ hasParent: true })],
    ['vhdx whose log is open', /log/, 'vhdx', brokenLog],
    ['vhdx with a broken header', /headers/, 'vhdx', patched(vhdxSample(), { at: 65536 + 100, text: 'x' })],
    ['vhdx with two minds', /region tables/, 'vhdx', patched(vhdxSample(), { at: 256 * 1024 + 40, le32: 1 })],
    ['vhdx cut off', /cut off/, 'vhdx', vhdxSample().subarray(0, 600 * 1024)],
    ['vdi with a parent', /parent/, 'vdi', vdiSample(4)],
    ['vdi undo', /parent/, 'vdi', vdiSample(3)],
    ['vdi with a link', /parent/, 'vdi', patched(vdiSample(), { at: 0x1b8, le32: 5 })],
    ['vdi with 0 blocks', /map/, 'vdi', patched(vdiSample(), { at: 0x180, le32: 0 })],
    ['vdi of 1 EiB', /map|TiB/, 'vdi', patched(vdiSample(), { at: 0x170, le64: 1n << 60n })],
    ['qcow version 1', /qcow version 1/, 'raw', patched(qcow2Sample(), { at: 4, be32: 1 })],
    ['QED', /QED/, 'raw', text(`QED\0${'\0'.repeat(100)}`)],
    ['Parallels', /Parallels/, 'raw', text(`WithoutFreeSpace${'\0'.repeat(100)}`)],
  ])('%s', async (_name, reason, format, bytes) => {
    expect(await reasonOf(bytes)).toMatch(reason);
    expect(await outcome(bytes, 'raw')).toBe(`format-unsafe ${format}`);
  });
});

describe('declared is not found', () => {
  test.each<[string, Uint8Array, DeclaredFormat, string]>([
    ['raw that a guessing tool would open', qcow2Sample(), 'raw', 'format-mismatch qcow2'],
    ['raw, vmdk', vmdkSample(), 'raw', 'format-mismatch vmdk'],
    ['raw, dynamic vhd', vhdSample(), 'raw', 'format-mismatch vhd'],
    ['raw, vhdx', vhdxSample(), 'raw', 'format-mismatch vhdx'],
    ['raw, vdi', vdiSample(), 'raw', 'format-mismatch vdi'],
    ['qcow2, nothing special', new Uint8Array(4096), 'qcow2', 'format-mismatch raw'],
    ['vhd, nothing special', new Uint8Array(4096), 'vhd', 'format-mismatch raw'],
    ['iso, gz', text('\x1f\x8b\x08..'), 'iso', 'format-mismatch gz'],
    ['iso, a fixed vhd', fixedVhdSample(new Uint8Array(65536)), 'iso', 'format-mismatch vhd'],
    ['raw, harmless iso', isoSample(), 'raw', 'raw 65536'],
    ['raw, harmless gz', text('\x1f\x8b\x08..'), 'raw', 'raw 5'],
    ['raw, harmless luks', luks, 'raw', 'raw 8192'],
    ["raw, the footer may be a guest's", fixedVhdSample(new Uint8Array(4096)), 'raw', 'raw 4608'],
    ['iso in a fixed vhd, declared iso', fixedVhdSample(isoSample()), 'iso', 'iso 66048'],
  ])('%s', async (_name, bytes, declared, expected) => {
    expect(await outcome(bytes, declared)).toBe(expected);
    const early = verdictError(earlyVerdict(bytes, declared), declared);
    if (early !== undefined) expect(expected).toContain(early.code);
  });

  test('the error says what was wanted, what was found and what to do', async () => {
    const verdict = await inspect(new MemoryReader(qcow2Sample()), { declared: 'raw' });
    const error = verdictError(verdict, 'raw');
    expect(error?.message).toBe(
      'Declared was raw, the content is qcow2. Send it again and declare qcow2 or auto, or send the file that was meant.',
    );
    expect(error?.details).toEqual({ wanted: 'raw', found: 'qcow2' });
  });
});

describe('two formats at once are refused, whatever is declared', () => {
  const isoOnQcow2 = patched(qcow2Sample(), { at: 32769, text: 'CD001' });
  test.each<[string, Uint8Array]>([
    ['iso and qcow2', isoOnQcow2],
    ['qcow2 and the footer of a fixed vhd', fixedVhdSample(qcow2Sample())],
    ['qcow2 and vdi', patched(qcow2Sample(), { at: 0x40, le32: 0xbeda107f })],
  ])('%s', async (_name, bytes) => {
    for (const declared of ['auto', 'raw', 'qcow2', 'iso', 'vhd'] as const) {
      expect(await outcome(bytes, declared)).toMatch(/^format-unsafe/);
    }
  });

  test('a broken footer at the end of a qcow2 file is only data', async () => {
    const bytes = Buffer.concat([qcow2Sample(), withVhdChecksum(new Uint8Array(512))]);
    expect(await outcome(bytes)).toBe(`qcow2 ${GIB}`);
  });
});

describe('the early verdict', () => {
  test('a wrong declaration is seen in 4 KiB', () => {
    expect(earlyVerdict(new Uint8Array(4096), 'qcow2')).toMatchObject({ kind: 'safe', format: 'raw' });
    expect(earlyVerdict(qcow2Sample().subarray(0, 65536), 'raw')).toMatchObject({ kind: 'safe', format: 'qcow2' });
  });
  test.each<[string, Uint8Array, DeclaredFormat]>([
    ['a fixed vhd, whose footer has not come', new Uint8Array(65536), 'vhd'],
    ['an iso of which too little is there', new Uint8Array(32768), 'iso'],
    ['raw', new Uint8Array(65536), 'raw'],
    ['a good qcow2', qcow2Sample().subarray(0, 65536), 'qcow2'],
    ['a qcow2 whose header goes on', qcow2Sample().subarray(0, 512), 'qcow2'],
    ['nothing', new Uint8Array(0), 'qcow2'],
  ])('nothing is said against %s', (_name, head, declared) => {
    expect(earlyVerdict(head, declared)).toBeUndefined();
  });
});
