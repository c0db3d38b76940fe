import { HawserError } from '../../core/errors.ts';
import type { ImageFormat } from '../../core/formats.ts';
import type { Device } from '../../stores/device.ts';
import { type ImageFileHandle, type ImageTools, openImageDevice } from './image-device.ts';
import type { HostStore } from './ports.ts';

/** An image's file with what a tool needs to open the same one. */
export interface LocalImageFile extends ImageFileHandle {
  readonly fd: number;
  readonly kind: 'file' | 'block';
  /** Names inside of it are relative to its folder. */
  readonly path: string;
}

/**
 * What a guest sees in a sealed object: a qcow2, VMDK, VDI, VHD or VHDX read as raw bytes, with its holes. Only for
 * reading, and only of one file: a sealed object never names others. Throws `not-found`, `unsupported` where the
 * Store has no local file for it, and what `openImageDevice` throws.
 */
export async function openFormatted(
  { store, name }: Pick<HostStore, 'store' | 'name'>,
  { key, format }: { readonly key: string; readonly format: ImageFormat },
  tools: ImageTools<LocalImageFile>,
  signal?: AbortSignal,
): Promise<Device> {
  const reader = await store.open(key);
  const { fd, size, fingerprint } = reader;
  if (fd === undefined) {
    await reader[Symbol.asyncDispose]();
    throw new HawserError(
      'unsupported',
      `The Store "${name}" keeps no local files, so that the content of a ${format} image on it cannot be opened. Take the image as it is, or a copy of it on another Store.`,
    );
  }
  const file: LocalImageFile = {
    fd,
    kind: 'file',
    path: '',
    size,
    identity: fingerprint,
    read: async (offset, length) => {
      const bytes = new Uint8Array(length);
      await reader.read(bytes, offset);
      return bytes;
    },
    [Symbol.asyncDispose]: () => reader[Symbol.asyncDispose](),
  };
  return openImageDevice(tools, { file, format, writable: false, references: 'refused' }, signal);
}
