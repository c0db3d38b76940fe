import type { FormatVerdict, ImageFormat } from '../core/formats.ts';
import type { DeclaredFormat } from '../core/nouns.ts';
import { foreign } from './foreign.ts';
import { type Finding, type Format, safe } from './format.ts';
import { type FormatReader, HEAD_BYTES, lookAtFile, lookAtHead, readAll } from './look.ts';
import { gz, iso, luks, xz, zst } from './plain.ts';
import { qcow2 } from './qcow2.ts';
import { vdi } from './vdi.ts';
import { fixedVhd, VHD_FOOTER, vhd } from './vhd.ts';
import { vhdx } from './vhdx.ts';
import { vmdk } from './vmdk.ts';

/**
 * What the first bytes say against the file while the rest has not arrived: call it when the first
 * 64 KiB to 1 MiB are complete. Undefined: nothing so far. It never condemns what `inspect` would
 * accept; `virtualSize` is 0 where only the whole file tells it. Throws nothing.
 */
export function earlyVerdict(head: Uint8Array, declared: DeclaredFormat): FormatVerdict | undefined {
  const found: Found[] = [];
  const excluded = new Set<ImageFormat>();
  for (const { format, harmless, recognise, judge } of formats) {
    const recognised = lookAtHead(recognise(), head);
    if (recognised === false) excluded.add(format);
    if (recognised !== true) continue;
    found.push({ format, harmless, finding: (judge && lookAtHead(judge(undefined), head)) ?? safe(null) });
  }
  const verdict = decide({ found, declared, size: 0 });
  if (verdict.kind === 'unsafe') return verdict;
  if (declared === 'auto') return undefined;
  if (found.some(({ harmless }) => !harmless)) return verdict.format === declared ? undefined : verdict;
  // A raw file is anything, and the footer of a fixed VHD comes last.
  return declared !== 'raw' && declared !== 'vhd' && excluded.has(declared) ? verdict : undefined;
}

/**
 * The binding verdict over a whole file: what it is, whether it is safe to open with a tool, and its
 * virtual size. Reads the head, the tail and what the head points at, a few MiB at most. `raw` is the verdict
 * when raw was declared and the content is harmless (docs/formats.md); another declared
 * format is not forced on the content: compare with `verdictError`. Throws only what the reader throws.
 */
export async function inspect(
  reader: FormatReader,
  options: { readonly declared: DeclaredFormat },
): Promise<FormatVerdict> {
  const { size } = reader;
  const head = await readAll(reader, 0, Math.min(size, HEAD_BYTES));
  const found: Found[] = [];
  for (const { format, harmless, recognise, judge } of formats) {
    if (!(await lookAtFile(recognise(), reader, head))) continue;
    const finding = judge === undefined ? safe(null) : await lookAtFile(judge(size), reader, head);
    found.push({ format, harmless, finding });
  }
  const tail = size < VHD_FOOTER ? new Uint8Array(0) : await readAll(reader, size - VHD_FOOTER, VHD_FOOTER);
  return decide({ found, declared: options.declared, size, fixed: fixedVhd(tail, size) });
}

const formats: readonly Format[] = [qcow2, vmdk, vhd, vhdx, vdi, foreign, luks, gz, xz, zst, iso];

interface Found {
  readonly format: ImageFormat;
  readonly harmless: boolean;
  readonly finding: Finding;
}

interface Case {
  readonly found: readonly Found[];
  readonly declared: DeclaredFormat;
  readonly size: number;
  readonly fixed?: Finding | undefined;
}

function decide({ found, declared, size, fixed }: Case): FormatVerdict {
  const harmless = found.every((each) => each.harmless);
  if (harmless && declared === 'raw') return { kind: 'safe', format: 'raw', virtualSize: size };
  const condemned = found.find(({ finding }) => finding.kind === 'unsafe');
  if (condemned !== undefined) return verdictOf(condemned, size);
  const [only, second] = found;
  if (second !== undefined) return severalFormats(found.map(({ format }) => format));
  if (only === undefined) {
    return fixed === undefined
      ? { kind: 'safe', format: 'raw', virtualSize: size }
      : verdictOf({ format: 'vhd', harmless: false, finding: fixed }, size);
  }
  if (fixed === undefined || (only.format === declared && only.harmless)) return verdictOf(only, size);
  return only.harmless
    ? verdictOf({ format: 'vhd', harmless: false, finding: fixed }, size)
    : severalFormats([only.format, 'vhd']);
}

function verdictOf({ format, finding }: Found, size: number): FormatVerdict {
  return finding.kind === 'unsafe'
    ? { kind: 'unsafe', format, reason: finding.reason }
    : { kind: 'safe', format, virtualSize: finding.virtualSize ?? size };
}

function severalFormats(formats: readonly ImageFormat[]): FormatVerdict {
  return {
    kind: 'unsafe',
    format: formats[0] ?? 'raw',
    reason: `It is ${formats.join(' and ')} at once, so that two tools would see two contents. Make it anew with qemu-img convert, with -f and the format that is meant.`,
  };
}
