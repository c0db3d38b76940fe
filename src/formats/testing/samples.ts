import { crc32c } from '../crc32c.ts';

/** Small whole files of each format, made by hand from the specifications, to be bent by tests. */

export const MIB = 1024 * 1024;
export const GIB = 1024 * MIB;

export interface Patch {
  readonly at: number;
  /** Big-endian unless `le`. */
  readonly be32?: number;
  readonly be64?: bigint;
  readonly le32?: number;
  readonly le64?: bigint;
  readonly text?: string;
}

export function patched(bytes: Uint8Array, ...patches: readonly Patch[]): Uint8Array {
  const copy = Uint8Array.from(bytes);
  const view = new DataView(copy.buffer);
  for (const { at, be32, be64, le32, le64, text } of patches) {
    if (be32 !== undefined) view.setUint32(at, be32);
    if (be64 !== undefined) view.setBigUint64(at, be64);
    if (le32 !== undefined) view.setUint32(at, le32, true);
    if (le64 !== undefined) view.setBigUint64(at, le64, true);
    if (text !== undefined) copy.set(Buffer.from(text, 'latin1'), at);
  }
  return copy;
}

/** 1 GiB, 64 KiB clusters, version 3, empty. */
export function qcow2Sample(): Uint8Array {
  return patched(
    new Uint8Array(256 * 1024),
    { at: 0, text: 'QFI\xfb' },
    { at: 4, be32: 3 },
    { at: 20, be32: 16 },
    { at: 24, be64: BigInt(GIB) },
    { at: 36, be32: 2 },
    { at: 40, be64: 0x30000n },
    { at: 48, be64: 0x10000n },
    { at: 56, be32: 1 },
    { at: 96, be32: 4 },
    { at: 100, be32: 104 },
  );
}

export const vmdkDescriptor = [
  '# Disk DescriptorFile',
  'version=1',
  'CID=7f3a1c55',
  'parentCID=ffffffff',
  'createType="monolithicSparse"',
  '',
  '# Extent description',
  'RW 2097152 SPARSE "image.vmdk"',
  '',
  '#DDB',
  'ddb.virtualHWVersion = "4"',
  'ddb.adapterType = "ide"',
  '',
].join('\n');

/** 1 GiB, monolithicSparse. */
export function vmdkSample(descriptor: string = vmdkDescriptor): Uint8Array {
  return patched(
    new Uint8Array(128 * 1024),
    { at: 0, text: 'KDMV' },
    { at: 4, le32: 1 },
    { at: 12, le64: 2097152n },
    { at: 20, le64: 128n },
    { at: 28, le64: 1n },
    { at: 36, le64: 20n },
    { at: 44, le32: 512 },
    { at: 48, le64: 21n },
    { at: 56, le64: 26n },
    { at: 512, text: descriptor },
  );
}

/** The footer of a VHD: of kind 2 fixed, 3 dynamic, 4 differencing. */
export function vhdFooter(kind: number, size: number): Uint8Array {
  const footer = patched(
    new Uint8Array(512),
    { at: 0, text: 'conectix' },
    { at: 12, be32: 0x10000 },
    { at: 16, be64: kind === 2 ? 0xffff_ffff_ffff_ffffn : 512n },
    { at: 28, text: 'win ' },
    { at: 40, be64: BigInt(size) },
    { at: 48, be64: BigInt(size) },
    { at: 60, be32: kind },
  );
  return withVhdChecksum(footer);
}

export function withVhdChecksum(footer: Uint8Array): Uint8Array {
  const sum = footer.reduce((total, byte, i) => (i >= 64 && i < 68 ? total : total + byte), 0);
  return patched(footer, { at: 64, be32: ~sum >>> 0 });
}

/** 1 GiB, dynamic. */
export function vhdSample(kind = 3): Uint8Array {
  const file = patched(
    new Uint8Array(64 * 1024),
    { at: 512, text: 'cxsparse' },
    { at: 512 + 16, be64: 1536n },
    { at: 512 + 28, be32: 512 },
    { at: 512 + 32, be32: 2 * MIB },
  );
  file.set(vhdFooter(kind, GIB), 0);
  file.set(vhdFooter(kind, GIB), file.length - 512);
  return file;
}

/** `content` and the footer of a fixed VHD. */
export function fixedVhdSample(content: Uint8Array): Uint8Array {
  return Buffer.concat([content, vhdFooter(2, content.length)]);
}

/** 1 GiB; `hasParent` sets the flag of a differencing one. */
export function vhdxSample({
  hasParent = false,
  log = false,
}: {
  hasParent?: boolean;
  log?: boolean;
} = {}): Uint8Array {
  const regions = [
    { at: 0, text: 'regi' },
    { at: 8, le32: 2 },
    { at: 16, text: unhex('6677c22d23f600429d64115e9bfd4a08') },
    { at: 16 + 16, le64: BigInt(MIB) },
    { at: 16 + 24, le32: MIB },
    { at: 16 + 28, le32: 1 },
    { at: 48, text: unhex('06a27c8b90479a4bb8fe575f050f886e') },
    { at: 48 + 16, le64: 512n * 1024n },
    { at: 48 + 24, le32: 128 * 1024 },
    { at: 48 + 28, le32: 1 },
  ];
  const metadata = 512 * 1024;
  const file = patched(
    new Uint8Array(2 * MIB),
    { at: 0, text: 'vhdxfile' },
    ...regions.map((patch) => ({ ...patch, at: patch.at + 192 * 1024 })),
    ...regions.map((patch) => ({ ...patch, at: patch.at + 256 * 1024 })),
    { at: metadata, text: 'metadata' },
    { at: metadata + 8, le32: 2 << 16 },
    { at: metadata + 32, text: unhex('3767a1ca36fa434db3b633f0aa44e76b') },
    { at: metadata + 32 + 16, le32: 65536 },
    { at: metadata + 32 + 20, le32: 8 },
    { at: metadata + 64, text: unhex('2442a52f1bcd7648b2115dbed83bf4b8') },
    { at: metadata + 64 + 16, le32: 65544 },
    { at: metadata + 64 + 20, le32: 8 },
    { at: metadata + 65536, le32: 32 * MIB },
    { at: metadata + 65540, le32: hasParent ? 2 : 0 },
    { at: metadata + 65544, le64: BigInt(GIB) },
  );
  file.set(vhdxHeader(log), 64 * 1024);
  return file;
}

function vhdxHeader(log: boolean): Uint8Array {
  const header = patched(
    new Uint8Array(4096),
    { at: 0, text: 'head' },
    { at: 8, le64: 7n },
    { at: 48, le32: log ? 1 : 0 },
  );
  return patched(header, { at: 4, le32: crc32c(header) });
}

/** 1 GiB; kind 1 dynamic, 2 fixed, 3 undo, 4 differencing. */
export function vdiSample(kind = 1): Uint8Array {
  return patched(
    new Uint8Array(64 * 1024),
    { at: 0, text: '<<< Oracle VM VirtualBox Disk Image >>>\n' },
    { at: 0x40, le32: 0xbeda107f },
    { at: 0x44, le32: 0x10001 },
    { at: 0x4c, le32: kind },
    { at: 0x154, le32: 512 },
    { at: 0x158, le32: 8192 },
    { at: 0x170, le64: BigInt(GIB) },
    { at: 0x178, le32: MIB },
    { at: 0x180, le32: 1024 },
  );
}

export function isoSample(): Uint8Array {
  return patched(new Uint8Array(64 * 1024), { at: 32768, text: '\x01CD001\x01' });
}

/** A protective MBR and a GPT header. */
export function gptSample(): Uint8Array {
  return patched(
    new Uint8Array(64 * 1024),
    { at: 450, text: '\xee' },
    { at: 510, text: '\x55\xaa' },
    { at: 512, text: 'EFI PART' },
  );
}

function unhex(hex: string): string {
  return Buffer.from(hex, 'hex').toString('latin1');
}
