import { HawserError } from '../core/errors.ts';
import type { ImageFormat } from '../core/formats.ts';
import type { ImageExtent, ImageLayer } from '../core/image-chain.ts';

/** An opened file of an image. */
export interface ImageFile {
  readonly fd: number;
  readonly kind: 'file' | 'block';
}

/** QEMU's names. What it cannot open as a device has none. */
const drivers = {
  raw: 'raw',
  iso: 'raw',
  qcow2: 'qcow2',
  vmdk: 'vmdk',
  vhd: 'vpc',
  vhdx: 'vhdx',
  vdi: 'vdi',
  luks: undefined,
  gz: undefined,
  xz: undefined,
  zst: undefined,
} as const satisfies Record<ImageFormat, string | undefined>;

/** Throws `unsupported` for what QEMU cannot open without a key or without unpacking. */
export function qemuDriver(format: ImageFormat): string {
  const driver = drivers[format];
  if (driver !== undefined) return driver;
  const why = format === 'luks' ? 'is encrypted' : 'is compressed as a whole';
  throw new HawserError('unsupported', `A ${format} image ${why}: its guest's content cannot be read. Take it raw.`);
}

/** How QEMU finds the files: by the number that each has in the child. */
export interface ChildFiles {
  readonly pathOf: (file: ImageFile) => string;
  /** A descriptor of ours in place of that of a VMDK of several files. */
  readonly descriptor: string | undefined;
}

/**
 * The image as QEMU's block options: an explicit driver for each layer and each file, so that no name inside an
 * image is ever followed. Source: docs of qemu-nbd and "BlockdevOptions" in qapi/block-core.json of QEMU.
 */
export function blockOptions(layer: ImageLayer<ImageFile>, files: ChildFiles): object {
  const own = layer.extents === null || files.descriptor === undefined;
  return {
    driver: qemuDriver(layer.format),
    file: own ? fileOptions(layer.file, files) : { driver: 'file', filename: files.descriptor },
    backing: layer.backing === null ? null : blockOptions(layer.backing, files),
    ...(layer.dataFile === null ? {} : { 'data-file': fileOptions(layer.dataFile, files) }),
  };
}

/**
 * The text of a descriptor whose extents are the child's own descriptors; RW, as QEMU leaves others out.
 * Source: VMware Virtual Disk Format 5.0.
 */
export function vmdkDescriptor(extents: readonly ImageExtent<ImageFile>[], { pathOf }: ChildFiles): string {
  const lines = extents.map((extent) => {
    const start = extent.kind === 'flat' ? ` ${extent.startSector}` : '';
    return `RW ${extent.sectors} ${extent.kind.toUpperCase()} "${pathOf(extent.file)}"${start}`;
  });
  const flat = extents.every(({ kind }) => kind === 'flat');
  const type = flat ? 'twoGbMaxExtentFlat' : 'twoGbMaxExtentSparse';
  return [
    '# Disk DescriptorFile',
    'version=1',
    'CID=fffffffe',
    'parentCID=ffffffff',
    `createType="${type}"`,
    ...lines,
    '',
  ].join('\n');
}

function fileOptions(file: ImageFile, { pathOf }: ChildFiles): object {
  return { driver: file.kind === 'block' ? 'host_device' : 'file', filename: pathOf(file) };
}
