import type { ExtentList } from '../../contract/api/image.ts';
import { connected } from '../connect.ts';
import { findImage } from '../find-image.ts';
import { type GlobalOptions, print, printJson } from '../terminal.ts';
import { formatBytes, printable } from '../text.ts';

type Extent = ExtentList['extents'][number];

export async function mapImage(text: string, options: GlobalOptions): Promise<void> {
  await connected(options, async ({ api }) => {
    const image = await findImage(api, text, (each) => each.state === 'ready');
    const extents: Extent[] = [];
    let size = 0;
    for (let from: number | null = 0; from !== null; ) {
      const page: ExtentList = await api.extents(image.id, from);
      extents.push(...page.extents);
      size = page.size;
      from = page.next;
    }
    const data = extents.reduce((sum, extent) => sum + (extent.kind === 'data' ? extent.length : 0), 0);
    if (options.json === true) return printJson({ imageId: image.id, size, data, extents });
    const width = Math.max(16, Math.min(64, (process.stdout.columns || 80) - 14));
    const cells = Math.max(1, Math.min(width * 16, Math.ceil(size / 65536)));
    print(`${printable(image.name)}  ${formatBytes(size)}, of that ${formatBytes(data)} data`);
    for (const line of mapLines(extents, size, { cells, width })) print(line);
    print(`one sign is ${formatBytes(Math.ceil(size / cells))}:  █ data  ▓▒░ partly  · hole`);
  });
}

/** Rows of signs, each with the offset where it begins. A sign says how much of its stretch is data. */
export function mapLines(
  extents: readonly Extent[],
  size: number,
  { cells, width }: { readonly cells: number; readonly width: number },
): readonly string[] {
  const each = Math.max(1, size / cells);
  const filled = new Float64Array(cells);
  for (const { kind, length, offset } of extents) {
    if (kind === 'hole') continue;
    for (let cell = Math.floor(offset / each); cell < cells && cell * each < offset + length; cell++) {
      const share = Math.min(offset + length, (cell + 1) * each) - Math.max(offset, cell * each);
      filled[cell] = (filled[cell] ?? 0) + Math.max(0, share) / each;
    }
  }
  const signs = Array.from(filled, sign);
  const lines: string[] = [];
  for (let at = 0; at < cells; at += width) {
    lines.push(`${formatBytes(at * each).padStart(10)}  ${signs.slice(at, at + width).join('')}`);
  }
  return lines;
}

function sign(share: number): string {
  if (share <= 0) return '·';
  if (share < 1 / 3) return '░';
  if (share < 2 / 3) return '▒';
  return share < 0.999 ? '▓' : '█';
}
