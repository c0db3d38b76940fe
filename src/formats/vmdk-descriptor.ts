import { latin1 } from './fields.ts';

/**
 * What is wrong with the descriptor inside a sparse VMDK, or null. Tools search it as text, comments
 * included, so each word that decides anything may stand in it once at most.
 */
export function judgeDescriptor(bytes: Uint8Array): string | null {
  const end = bytes.indexOf(0);
  const text = latin1(end < 0 ? bytes : bytes.subarray(0, end));
  const kinds = [...text.matchAll(/createType/gi)];
  if (kinds.length !== 1) return `Its descriptor has ${kinds.length} lines createType; one is right. ${again}`;
  if (/parentFileNameHint|changeTrackPath/i.test(text)) return `Its descriptor names another file. ${again}`;
  if ([...text.matchAll(/parentCID/gi)].length > 1) return `Its descriptor names several parents. ${again}`;

  let extents = 0;
  for (const line of text.split(/\r?\n/).map((each) => each.trim())) {
    if (line === '' || line.startsWith('#')) continue;
    const reason = /^(RW|RDONLY|NOACCESS)\b/i.test(line) ? judgeExtent(line) : judgeSetting(line);
    if (reason !== null) return reason;
    if (/^(RW|RDONLY|NOACCESS)\b/i.test(line)) extents++;
  }
  return extents === 1 ? null : `Its descriptor lists ${extents} extents; one is right. ${again}`;
}

const again =
  'Send one file that holds everything: qemu-img convert -O vmdk -o subformat=streamOptimized OLD NEW, or as qcow2 or raw.';

function judgeExtent(line: string): string | null {
  const parts = /^\S+\s+\d+\s+(\S+)\s+"([^"]*)"\s*\d*$/.exec(line);
  if (parts === null) return `Its descriptor has an extent line that cannot be read. ${again}`;
  const [, kind = '', name = ''] = parts;
  if (kind.toUpperCase() !== 'SPARSE') return `Its data is an extent of kind ${shown(kind)}, in another file. ${again}`;
  return /[/\\:]|^\.\.?$/.test(name) ? `Its descriptor names an extent with a path. ${again}` : null;
}

function judgeSetting(line: string): string | null {
  const parts = /^([\w.]+)\s*=\s*"?([^"]*)"?$/.exec(line);
  if (parts === null) return `Its descriptor has a line that cannot be read. ${again}`;
  const [, key = '', value = ''] = parts;
  if (key.toLowerCase() === 'createtype' && !['monolithicsparse', 'streamoptimized'].includes(value.toLowerCase())) {
    return `It is of kind ${shown(value)}; monolithicSparse and streamOptimized are accepted. ${again}`;
  }
  if (key.toLowerCase() === 'parentcid' && value.toLowerCase() !== 'ffffffff') {
    return `It holds only the differences to a parent image. ${again}`;
  }
  return null;
}

function shown(word: string): string {
  return word.replace(/[^\w.-]/g, '?').slice(0, 40);
}
