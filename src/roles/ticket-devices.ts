import { isHawserError } from '../core/errors.ts';
import { openImageFile } from '../host/image-files.ts';
import type { QemuNbdSupervisor } from '../host/qemu-nbd.ts';
import { checkTicketPath, fingerprintOf } from '../host/ticket-file.ts';
import { openImageDevice } from '../service/host/image-device.ts';
import type { DeviceRequest, OpenedDevice } from '../service/host/ticket-ports.ts';
import { parseTicketUrl, type TicketUrl } from '../service/host/ticket-url.ts';
import { openLocalDevice } from '../stores/local-device.ts';
import { openNbdDevice } from '../stores/nbd/device.ts';
import { imageTools } from './image-tools.ts';

/** Refuses the URL of a ticket that will never be opened. */
export function checkTicketUrl(url: string, roots: readonly string[]): void {
  const where = parseTicketUrl(url);
  if (where.kind === 'file') checkTicketPath(where.path, roots);
}

/**
 * Opens what tickets name: files and block devices below `roots` as they are, images below `roots` by their format
 * through QEMU, and NBD exports.
 */
export function ticketDevices(roots: readonly string[], supervisor: QemuNbdSupervisor) {
  return (request: DeviceRequest): Promise<OpenedDevice> => {
    const where = parseTicketUrl(request.url);
    if (where.kind !== 'file') return openNbd(where, request);
    const { format } = request;
    if (format === undefined || format === 'raw') return openFile(where.path, roots, request);
    return openImage({ path: where.path, roots, supervisor, format }, request);
  };
}

async function openFile(path: string, roots: readonly string[], request: DeviceRequest): Promise<OpenedDevice> {
  await using undo = new AsyncDisposableStack();
  // Held open, so that it stays the one that was checked, whatever its path names by now.
  const file = undo.use(await openImageFile(path, roots));
  const { writable, sparse, size } = request;
  const growth = writable ? { growTo: size, growAsWritten: true } : {};
  const device = undo.use(await openLocalDevice({ path: `/proc/self/fd/${file.fd}`, writable, sparse, ...growth }));
  const held = undo.move();
  return {
    device,
    kind: file.kind,
    fingerprint: async () => (file.kind === 'file' ? await fingerprintOf(file.fd) : undefined),
    [Symbol.asyncDispose]: () => held.disposeAsync(),
  };
}

interface ImagePlace {
  readonly path: string;
  readonly roots: readonly string[];
  readonly supervisor: QemuNbdSupervisor;
  readonly format: Exclude<DeviceRequest['format'], undefined>;
}

async function openImage(
  { path, roots, supervisor, format }: ImagePlace,
  request: DeviceRequest,
): Promise<OpenedDevice> {
  const file = await openImageFile(path, roots);
  const { writable, bitmap } = request;
  const references = request.backingChain ? 'allowed' : 'refused';
  const device = await openImageDevice(imageTools(supervisor, roots), { file, format, writable, references, bitmap });
  return {
    device,
    kind: 'nbd',
    // Of the file alone: what it stands on may change without it.
    fingerprint: async () => (references === 'refused' ? await fingerprintOf(file.fd) : undefined),
    [Symbol.asyncDispose]: () => device[Symbol.asyncDispose](),
  };
}

async function openNbd(where: Exclude<TicketUrl, { kind: 'file' }>, request: DeviceRequest): Promise<OpenedDevice> {
  const { exportName } = where;
  const address =
    where.kind === 'nbd-unix'
      ? { kind: 'unix' as const, path: where.path }
      : { kind: 'tcp' as const, host: where.host, port: where.port };
  const open = (bitmap: string | true | undefined) =>
    openNbdDevice({ address, exportName, readOnly: !request.writable, ...(bitmap === undefined ? {} : { bitmap }) });
  const device = await open(request.bitmap ?? (request.dirty ? true : undefined)).catch((error: unknown) => {
    // Without a bitmap all but the dirty extents is there.
    if (request.dirty && isHawserError(error, 'not-found')) return open(undefined);
    throw error;
  });
  return {
    device,
    kind: 'nbd',
    fingerprint: async () => undefined,
    [Symbol.asyncDispose]: () => device[Symbol.asyncDispose](),
  };
}
