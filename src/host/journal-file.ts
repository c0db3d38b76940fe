import { createHash } from 'node:crypto';
import { type FileHandle, open } from 'node:fs/promises';
import { crc32 } from 'node:zlib';
import type { JournalRecord, UploadJournal } from '../engine/upload-journal.ts';
import { stateFailure } from './atomic-file.ts';

/**
 * One Upload's journal on disk: records of 64 bytes, little-endian, appended.
 *
 *   0 u8 kind (1 data, 2 zero, 3 leaf, 4 discard, 5 sync, 6 doubt)   1–3 zero
 *   4 u32 CRC-32 of the record with this field zero
 *   8 u64 offset   16 u64 length   24 u64 sequence number, from 0
 *   32 32 bytes digest
 *
 * A record counts only when its CRC and its sequence number are right; the first that is not ends the
 * journal, and what follows is cut off on opening (a torn write of a crash).
 */
const RECORD = 64;
const READ_RECORDS = 4096;
const kinds = ['data', 'zero', 'leaf', 'discard', 'sync', 'doubt'] as const;

interface Waiting {
  readonly records: readonly JournalRecord[];
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
}

export class JournalFile implements UploadJournal, AsyncDisposable {
  readonly #file: FileHandle;
  #sequence: number;
  #queue: Waiting[] = [];
  #writing: Promise<void> | undefined;
  /** A torn record lies at the end and could not be cut: what came after it would be lost at the next opening. */
  #torn: unknown;

  private constructor(file: FileHandle, sequence: number) {
    this.#file = file;
    this.#sequence = sequence;
  }

  /** Opens or creates the journal and cuts a torn tail. */
  static async open(path: string): Promise<JournalFile> {
    const file = await open(path, 'a+', 0o600);
    try {
      const count = await goodRecords(file);
      await file.truncate(count * RECORD);
      return new JournalFile(file, count);
    } catch (error) {
      await file.close();
      throw error;
    }
  }

  append(records: readonly JournalRecord[]): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#queue.push({ records, resolve, reject });
      this.#writing ??= this.#drain();
    });
  }

  async sync(): Promise<void> {
    await this.append([]);
    await this.#file.datasync();
  }

  async *records(): AsyncGenerator<JournalRecord> {
    const until = this.#sequence;
    yield* readRecords(this.#file, until);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#writing;
    await this.#file.close();
  }

  /** Whatever came together goes out in one write: a single writer, so records never interleave. */
  async #drain(): Promise<void> {
    await undefined; // what is appended in the same go joins the first write
    while (this.#queue.length > 0) {
      const batch = this.#queue;
      this.#queue = [];
      try {
        await this.#write(batch.flatMap((waiting) => waiting.records));
        for (const waiting of batch) waiting.resolve();
      } catch (error) {
        for (const waiting of batch) waiting.reject(error);
      }
    }
    this.#writing = undefined;
  }

  async #write(records: readonly JournalRecord[]): Promise<void> {
    if (this.#torn !== undefined) await this.#cut();
    if (records.length === 0) return;
    const bytes = Buffer.alloc(records.length * RECORD);
    records.forEach((record, i) => {
      encode(record, this.#sequence + i, bytes.subarray(i * RECORD, (i + 1) * RECORD));
    });
    try {
      for (let done = 0; done < bytes.length; ) {
        done += (await this.#file.write(bytes, done, bytes.length - done)).bytesWritten;
      }
    } catch (error) {
      this.#torn = error;
      await this.#cut().catch(() => {}); // it is tried again before anything is appended
      throw stateFailure(error);
    }
    this.#sequence += records.length;
  }

  /** A part of a batch may lie there; without this cut, later records would follow a torn one and be lost. */
  async #cut(): Promise<void> {
    await this.#file.truncate(this.#sequence * RECORD);
    this.#torn = undefined;
  }
}

function encode(record: JournalRecord, sequence: number, into: Buffer): void {
  into.writeUInt8(kinds.indexOf(record.kind) + 1, 0);
  if ('offset' in record) {
    into.writeBigUInt64LE(BigInt(record.offset), 8);
    into.writeBigUInt64LE(BigInt(record.length), 16);
  }
  into.writeBigUInt64LE(BigInt(sequence), 24);
  if ('digest' in record) record.digest.copy(into, 32);
  into.writeUInt32LE(crc32(into), 4);
}

/** The record, or undefined when it is torn, damaged or out of its place. */
function decode(bytes: Buffer, sequence: number): JournalRecord | undefined {
  const crc = bytes.readUInt32LE(4);
  const copy = Buffer.from(bytes);
  copy.writeUInt32LE(0, 4);
  if (crc32(copy) !== crc || bytes.readBigUInt64LE(24) !== BigInt(sequence)) return undefined;
  const kind = kinds[bytes.readUInt8(0) - 1];
  const offset = Number(bytes.readBigUInt64LE(8));
  const length = Number(bytes.readBigUInt64LE(16));
  const digest = Buffer.from(bytes.subarray(32, RECORD));
  switch (kind) {
    case 'data':
    case 'leaf':
      return { kind, offset, length, digest };
    case 'zero':
    case 'discard':
      return { kind, offset, length };
    case 'sync':
      return { kind, digest };
    case 'doubt':
      return { kind };
    case undefined:
      return undefined;
  }
}

async function* readRecords(file: FileHandle, until: number): AsyncGenerator<JournalRecord> {
  const bytes = Buffer.alloc(READ_RECORDS * RECORD);
  for (let sequence = 0; sequence < until; ) {
    const { bytesRead } = await file.read(bytes, 0, bytes.length, sequence * RECORD);
    const whole = Math.min(Math.floor(bytesRead / RECORD), until - sequence);
    if (whole === 0) return;
    for (let i = 0; i < whole; i++) {
      const record = decode(bytes.subarray(i * RECORD, (i + 1) * RECORD), sequence);
      if (record === undefined) return;
      sequence++;
      yield record;
    }
  }
}

async function goodRecords(file: FileHandle): Promise<number> {
  let count = 0;
  for await (const _ of readRecords(file, Number.MAX_SAFE_INTEGER)) count++;
  return count;
}

/** What a `sync` record carries: which boot of the machine it was. */
export function bootDigest(bootId: string): Buffer {
  return createHash('sha256').update(bootId).digest();
}
