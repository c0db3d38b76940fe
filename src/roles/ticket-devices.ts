import { checkTicketPath, openTicketFile } from '../host/ticket-file.ts';
import type { DeviceRequest, OpenedDevice } from '../service/host/ticket-ports.ts';
import { parseTicketUrl, type TicketUrl } from '../service/host/ticket-url.ts';
import { openLocalDevice } from '../stores/local-device.ts';
import { openNbdDevice } from '../stores/nbd/device.ts';

/** Opens what tickets name: files and block devices below `roots`, and NBD exports. */
export function ticketDevices(roots: readonly string[]) {
  return {
    /** Throws for a URL that will never be opened. */
    check(url: string): void {
      const where = parseTicketUrl(url);
      if (where.kind === 'file') checkTicketPath(where.path, roots);
    },
    open(request: DeviceRequest): Promise<OpenedDevice> {
      const where = parseTicketUrl(request.url);
      return where.kind === 'file' ? openFile(where.path, roots, request) : openNbd(where, request);
    },
  };
}

async function openFile(path: string, roots: readonly string[], request: DeviceRequest): Promise<OpenedDevice> {
  await using undo = new AsyncDisposableStack();
  const file = undo.use(await openTicketFile(path, roots));
  const { writable, sparse, size } = request;
  const device = await openLocalDevice({
    path: file.path,
    writable,
    sparse,
    ...(writable ? { growTo: size, growAsWritten: true } : {}),
  });
  const held = undo.move();
  held.use(device);
  return {
    device,
    kind: file.kind,
    fingerprint: () => file.fingerprint(),
    [Symbol.asyncDispose]: () => held.disposeAsync(),
  };
}

async function openNbd(where: Exclude<TicketUrl, { kind: 'file' }>, request: DeviceRequest): Promise<OpenedDevice> {
  const { exportName } = where;
  const address =
    where.kind === 'nbd-unix'
      ? { kind: 'unix' as const, path: where.path }
      : { kind: 'tcp' as const, host: where.host, port: where.port };
  const device = await openNbdDevice({ address, exportName, readOnly: !request.writable });
  return {
    device,
    kind: 'nbd',
    fingerprint: async () => undefined,
    [Symbol.asyncDispose]: () => device[Symbol.asyncDispose](),
  };
}
