import { be32, hasText, latin1 } from './fields.ts';
import { type Finding, type Format, unsafe } from './format.ts';
import { bytesAt, type Look } from './look.ts';

/**
 * Formats that Hawser does not take but that a tool which guesses would open: declared as raw they are
 * the same attack as a qcow2 file. Source: the probe functions in QEMU's block/ folder.
 */
export const foreign: Format = {
  format: 'raw',
  harmless: false,
  *recognise(): Look<boolean> {
    return nameOf(yield* bytesAt(0, 64)) !== undefined;
  },
  *judge(): Look<Finding> {
    const name = nameOf(yield* bytesAt(0, 64)) ?? 'unknown';
    return unsafe(
      `It is a ${name} image, which is not accepted, also not as raw. Convert it: qemu-img convert -O qcow2 OLD NEW.`,
    );
  },
};

function nameOf(head: Uint8Array): string | undefined {
  if (hasText(head, 0, 'QFI\xfb') && be32(head, 4) === 1) return 'qcow version 1';
  if (hasText(head, 0, 'QED\0')) return 'QED';
  if (hasText(head, 0, 'WithoutFreeSpace') || hasText(head, 0, 'WithouFreSpacExt')) return 'Parallels';
  if (hasText(head, 0, 'Bochs Virtual HD Image')) return 'Bochs';
  if (latin1(head).startsWith('#!/bin/sh\n#V2.0 Format\nmodprobe cloop')) return 'cloop';
  return undefined;
}
