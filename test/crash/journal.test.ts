import { createHash } from 'node:crypto';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { JournalRecord } from '../../src/engine/upload-journal.ts';
import { bootDigest, JournalFile } from '../../src/host/journal-file.ts';

const RECORD = 64;
const MiB = 1024 * 1024;
const digest = (text: string) => createHash('sha256').update(text).digest();
const records: readonly JournalRecord[] = [
  { kind: 'sync', digest: bootDigest('one boot') },
  { kind: 'data', offset: 0, length: MiB, digest: digest('a') },
  { kind: 'zero', offset: MiB, length: 2 ** 51 },
  { kind: 'data', offset: 5 * MiB, length: 17, digest: digest('b') },
  { kind: 'discard', offset: 0, length: 3 },
  { kind: 'data', offset: 5 * MiB + 17, length: MiB - 17, digest: digest('c') },
  { kind: 'leaf', offset: 5 * MiB, length: MiB, digest: digest('d') },
  { kind: 'sync', digest: bootDigest('one boot') },
  { kind: 'zero', offset: 7 * MiB, length: 1 },
  { kind: 'doubt' },
  { kind: 'data', offset: 8 * MiB, length: MiB, digest: digest('e') },
];
const later: JournalRecord = { kind: 'data', offset: 9 * MiB, length: 4096, digest: digest('later') };

let folder: string;
let whole: Buffer;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'hawser-journal-'));
  const path = join(folder, 'whole');
  await using journal = await JournalFile.open(path);
  for (const record of records) await journal.append([record]);
  await journal.sync();
  whole = await readFile(path);
});
afterAll(() => rm(folder, { recursive: true, force: true }));

test('a journal cut at any byte replays to the records that are whole, and takes more', async () => {
  expect(whole.length).toBe(records.length * RECORD);
  for (let length = 0; length <= whole.length; length++) {
    await expectPrefix(whole.subarray(0, length), Math.floor(length / RECORD), `cut at ${length}`);
  }
});

test('a journal with any one bit of its last three records changed replays to what stands before', async () => {
  const from = whole.length - 3 * RECORD;
  for (let bit = from * 8; bit < whole.length * 8; bit++) {
    const damaged = Buffer.from(whole);
    damaged[bit >> 3] = (damaged[bit >> 3] ?? 0) ^ (1 << (bit & 7));
    await expectPrefix(damaged, Math.floor(bit / 8 / RECORD), `bit ${bit}`);
  }
});

test('what a crash of the machine may leave behind the end counts for nothing', async () => {
  const first = whole.subarray(0, RECORD);
  const last = whole.subarray(-RECORD);
  for (const [what, tail] of [
    ['zeros', Buffer.alloc(3 * RECORD + 5)],
    ['ones', Buffer.alloc(RECORD, 0xff)],
    ['a record of another place', first],
    ['the last record twice', last],
    ['half a record', last.subarray(0, 40)],
  ] as const) {
    await expectPrefix(Buffer.concat([whole, tail]), records.length, what);
  }
});

test('a record whose neighbour was torn is not reached any more', async () => {
  const torn = Buffer.from(whole);
  torn.fill(0, 4 * RECORD, 5 * RECORD);
  await expectPrefix(torn, 4, 'the fifth is zeros');
});

/** Replays to the first `count` records; one more appended is there after the next opening. */
async function expectPrefix(bytes: Buffer, count: number, what: string): Promise<void> {
  const path = join(folder, 'damaged');
  await writeFile(path, bytes);
  const wanted = records.slice(0, count);
  {
    await using journal = await JournalFile.open(path);
    expect(await Array.fromAsync(journal.records()), what).toEqual(wanted);
    await journal.append([later]);
  }
  await using again = await JournalFile.open(path);
  expect(await Array.fromAsync(again.records()), `${what}, one more appended`).toEqual([...wanted, later]);
}
