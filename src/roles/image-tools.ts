import { type OpenImageFile, openBeside } from '../host/image-files.ts';
import type { QemuNbdSupervisor } from '../host/qemu-nbd.ts';
import type { ImageTools } from '../service/host/image-device.ts';
import { openNbdDevice } from '../stores/nbd/device.ts';

/** Images by their format, on this machine: other files only from below `roots`, served by QEMU. */
export function imageTools(supervisor: QemuNbdSupervisor, roots: readonly string[]): ImageTools<OpenImageFile> {
  return {
    openBeside: (from, name) => openBeside(from, name, roots),
    serve: (image, { writable, bitmap }, signal) =>
      supervisor.start({ image, writable, ...(bitmap === undefined ? {} : { bitmap }) }, signal),
    connect: ({ socketPath }, { writable, bitmap, size }, signal) =>
      openNbdDevice(
        {
          address: { kind: 'unix', path: socketPath },
          readOnly: !writable,
          size,
          ...(bitmap === undefined ? {} : { bitmap }),
        },
        signal,
      ),
  };
}
