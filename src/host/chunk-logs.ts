import { mkdir, open, readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { crc32 } from 'node:zlib';
import { z } from 'zod';
import type { ChunkEvent, ChunkLog, ChunkLogs } from '../service/host/chunk-ports.ts';
import { readIfThere, removeFile, stateFailure, syncFolder } from './atomic-file.ts';

const count = z.number().int().nonnegative();
const chunkEvent = z.discriminatedUnion('kind', [
  z.object({ kind: z.literal('opened'), storeId: z.string(), key: z.string() }),
  z.object({ kind: z.literal('prepared'), index: count, size: count, checksum: z.string() }),
  z.object({ kind: z.literal('placed'), index: count, offset: count, how: z.enum(['landing', 'found']).optional() }),
  z.object({ kind: z.literal('aside'), index: count, offset: count, from: count.optional() }),
  z.object({ kind: z.literal('left'), index: count }),
  z.object({ kind: z.literal('dropped'), index: count }),
  z.object({ kind: z.literal('port'), port: count }),
]) satisfies z.ZodType<ChunkEvent>;

const SUFFIX = '.chunks';

/**
 * `ID.chunks`: a ChunkEvent a line, its CRC-32 before it. The first line that is torn or damaged ends the
 * log and is cut off with what follows: those chunks are simply asked for again.
 */
export async function openChunkLogs(folder: string): Promise<ChunkLogs> {
  await mkdir(folder, { recursive: true, mode: 0o700 });
  const pathOf = (uploadId: string) => join(folder, `${uploadId}${SUFFIX}`);
  return {
    list: async () =>
      (await readdir(folder)).filter((name) => name.endsWith(SUFFIX)).map((name) => name.slice(0, -SUFFIX.length)),
    open: (uploadId) => openLog(pathOf(uploadId), folder),
    remove: (uploadId) => removeFile(pathOf(uploadId)),
  };
}

async function openLog(path: string, folder: string): Promise<{ log: ChunkLog; events: readonly ChunkEvent[] }> {
  const isNew = (await readIfThere(path)) === undefined;
  const file = await open(path, 'a', 0o600);
  if (isNew) await syncFolder(folder);
  const { events, length } = parse(await readFile(path));
  await file.truncate(length);
  let tail: Promise<unknown> = Promise.resolve();
  let end = length;
  return {
    events,
    log: {
      append(added) {
        const text = Buffer.from(added.map(line).join(''));
        const appended = tail.then(async () => {
          try {
            await file.appendFile(text);
            end += text.length;
          } catch (error) {
            // Half a line would end the log for everything after it.
            await file.truncate(end);
            throw stateFailure(error);
          }
        });
        tail = appended.catch(() => {}); // who asked for it is told
        return appended;
      },
      async [Symbol.asyncDispose]() {
        await tail;
        await file.close();
      },
    },
  };
}

function line(event: ChunkEvent): string {
  const text = JSON.stringify(event);
  return `${crc32(text).toString(16).padStart(8, '0')} ${text}\n`;
}

function parse(content: Buffer): { readonly events: readonly ChunkEvent[]; readonly length: number } {
  const events: ChunkEvent[] = [];
  let length = 0;
  for (let next = content.indexOf(10); next >= 0; next = content.indexOf(10, length)) {
    const event = parseLine(content.toString('utf8', length, next));
    if (event === undefined) break;
    events.push(event);
    length = next + 1;
  }
  return { events, length };
}

function parseLine(text: string): ChunkEvent | undefined {
  const body = text.slice(9);
  if (text.slice(0, 8) !== crc32(body).toString(16).padStart(8, '0')) return undefined;
  return chunkEvent.safeParse(JSON.parse(body)).data;
}
