import { type FileHandle, mkdir, open, readdir, readFile, truncate } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { HawserError } from '../core/errors.ts';
import { imageFormats } from '../core/formats.ts';
import type { KeptTicket, TicketFolder, TicketNote, TicketRecord } from '../service/host/ticket-ports.ts';
import { readIfThere, removeFile, stateFailure, writeFileAtomic } from './atomic-file.ts';

const moment = z.object({ monotonic: z.number(), wall: z.number() });
const range = z.object({ offset: z.number().int().nonnegative(), length: z.number().int().nonnegative() });
const subject = z.discriminatedUnion('kind', [
  z.object({ kind: z.literal('upload'), uploadId: z.string() }),
  z.object({
    kind: z.literal('copy'),
    storeId: z.string(),
    key: z.string(),
    filename: z.string().optional(),
    fingerprint: z.string().nullable().optional(),
  }),
]);
const content = z.discriminatedUnion('kind', [
  z.object({
    kind: z.literal('plane'),
    subject,
    ops: z.array(z.enum(['read', 'write'])),
    timeoutMs: z.number(),
  }),
  z.object({
    kind: z.literal('device'),
    id: z.string(),
    label: z.string(),
    size: z.number(),
    url: z.string(),
    read: z.boolean(),
    write: z.boolean(),
    sparse: z.boolean(),
    dirty: z.boolean(),
    bitmap: z.string().optional(),
    format: z.enum(imageFormats).optional(),
    backingChain: z.boolean(),
    filename: z.string().optional(),
    timeoutMs: z.number(),
    inactivityMs: z.number(),
    document: z.string(),
  }),
]);
const keptRecord = z.object({
  /** Its notes are in NAME-EDITION.notes; others are of records that were replaced. */
  edition: z.string(),
  record: z.object({
    name: z.string().regex(/^[0-9a-f]{64}$/),
    boot: z.string(),
    expires: moment,
    content,
    canceled: z.boolean(),
    ranges: z.array(range),
  }),
});
const noteSchema = z.discriminatedUnion('kind', [
  z.object({ kind: z.literal('moved'), range, expires: moment }),
  z.object({ kind: z.literal('renewed'), expires: moment }),
  z.object({ kind: z.literal('flushed'), through: z.number().int().nonnegative(), expires: moment }),
]);

/**
 * The agent's tickets: `NAME.json`, written whole, and `NAME-EDITION.notes` beside it, one JSON line a note. A note is
 * in the page cache when `note` resolves, so it survives a kill; a half line at the end is one that was never promised.
 */
export async function openTicketFolder(path: string, randomName: () => string): Promise<TicketFolder> {
  await mkdir(path, { recursive: true, mode: 0o700 });
  return new Folder(path, randomName);
}

/** Everything about one ticket happens in order. */
class Folder implements TicketFolder {
  readonly #path: string;
  readonly #randomName: () => string;
  readonly #editions = new Map<string, string>();
  readonly #files = new Map<string, FileHandle>();
  readonly #turns = new Map<string, Promise<unknown>>();

  constructor(path: string, randomName: () => string) {
    this.#path = path;
    this.#randomName = randomName;
  }

  async list(): Promise<readonly KeptTicket[]> {
    const names = await readdir(this.#path);
    const tickets: KeptTicket[] = [];
    for (const file of names.filter((name) => name.endsWith('.json'))) {
      const { edition, record } = parseRecord(await readFile(join(this.#path, file), 'utf8'), file);
      this.#editions.set(record.name, edition);
      tickets.push({ record, notes: notesOf(await this.#wholeLines(this.#notesPath(record.name, edition))) });
    }
    const known = new Set(
      [...this.#editions].flatMap(([name, edition]) => [`${name}.json`, `${name}-${edition}.notes`]),
    );
    for (const file of names) if (!known.has(file)) await removeFile(join(this.#path, file));
    return tickets;
  }

  save(record: TicketRecord): Promise<void> {
    return this.#inTurn(record.name, async () => {
      const before = this.#editions.get(record.name);
      const edition = this.#randomName();
      await writeFileAtomic(join(this.#path, `${record.name}.json`), JSON.stringify({ edition, record }));
      this.#editions.set(record.name, edition);
      await this.#closeNotes(record.name);
      if (before !== undefined) await removeFile(this.#notesPath(record.name, before));
    });
  }

  note(name: string, notes: readonly TicketNote[]): Promise<void> {
    return this.#inTurn(name, async () => {
      const edition = this.#editions.get(name);
      if (edition === undefined) return; // it was removed meanwhile
      try {
        const file = this.#files.get(name) ?? (await open(this.#notesPath(name, edition), 'a', 0o600));
        this.#files.set(name, file);
        await file.appendFile(notes.map((note) => `${JSON.stringify(note)}\n`).join(''));
      } catch (error) {
        throw stateFailure(error);
      }
    });
  }

  remove(name: string): Promise<void> {
    return this.#inTurn(name, async () => {
      const edition = this.#editions.get(name);
      this.#editions.delete(name);
      await this.#closeNotes(name);
      await removeFile(join(this.#path, `${name}.json`));
      if (edition !== undefined) await removeFile(this.#notesPath(name, edition));
    });
  }

  async close(): Promise<void> {
    await Promise.allSettled(this.#turns.values());
    for (const name of [...this.#files.keys()]) await this.#closeNotes(name);
  }

  /** A half line at the end was cut by a kill, before anybody was told that it is kept. */
  async #wholeLines(path: string): Promise<string> {
    const text = (await readIfThere(path))?.toString() ?? '';
    const whole = text.slice(0, text.lastIndexOf('\n') + 1);
    if (whole.length < text.length) await truncate(path, Buffer.byteLength(whole));
    return whole;
  }

  #notesPath(name: string, edition: string): string {
    return join(this.#path, `${name}-${edition}.notes`);
  }

  async #closeNotes(name: string): Promise<void> {
    const file = this.#files.get(name);
    this.#files.delete(name);
    await file?.close();
  }

  #inTurn(name: string, work: () => Promise<void>): Promise<void> {
    const turn = (this.#turns.get(name) ?? Promise.resolve()).then(work, work);
    this.#turns.set(name, turn);
    const over = () => {
      if (this.#turns.get(name) === turn) this.#turns.delete(name);
    };
    turn.then(over, over);
    return turn;
  }
}

function notesOf(text: string): readonly TicketNote[] {
  const lines = text.split('\n');
  return lines.slice(0, -1).map((line) => noteSchema.parse(JSON.parse(line)));
}

function parseRecord(text: string, file: string): { readonly edition: string; readonly record: TicketRecord } {
  try {
    return keptRecord.parse(JSON.parse(text));
  } catch (cause) {
    throw new HawserError(
      'corrupt',
      `The ticket in ${file} cannot be read. Move it out of the folder agent/tickets to go on without it.`,
      { cause },
    );
  }
}
