import { mkdir, readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { HawserError } from '../core/errors.ts';
import { imageFormats } from '../core/formats.ts';
import { statesOf, uploadStates } from '../core/states.ts';
import type { KeptRecords, StateFolder, UnreadableRecord, UploadRecord } from '../service/host/ports.ts';
import { readIfThere, removeFile, syncFolder, writeFileAtomic } from './atomic-file.ts';
import { bootDigest, JournalFile } from './journal-file.ts';

const bytes = z.number().int().nonnegative();
const uploadRecord = z.object({
  uploadId: z.uuid(),
  generation: z.number().int(),
  storeId: z.uuid(),
  key: z.string(),
  declaredSize: bytes.nullable(),
  maxSize: bytes.nullable().default(null),
  reserve: bytes,
  format: z.enum([...imageFormats, 'auto']),
  digests: z.array(z.string()),
  limits: z.object({ task: bytes.nullable(), user: bytes.nullable(), userId: z.string() }),
  state: z.enum(statesOf(uploadStates)),
  validator: z.string().nullable().default(null),
  sealed: z
    .object({
      size: bytes,
      storedSize: bytes,
      treeDigest: z.string(),
      digests: z.record(z.string(), z.string()),
      format: z.enum(imageFormats),
      virtualSize: bytes,
      fingerprint: z.string(),
    })
    .nullable(),
});

/**
 * The agent's folder: `uploads/ID.json` (an UploadRecord) and `uploads/ID.journal`, `leaves/STORE/KEY`
 * (32 bytes a block). A journal without its record is a left-over and is removed.
 */
export async function openStateFolder(path: string): Promise<StateFolder & { readonly bootId: string }> {
  const uploads = join(path, 'uploads');
  const leaves = join(path, 'leaves');
  for (const folder of [path, uploads, leaves]) await mkdir(folder, { recursive: true, mode: 0o700 });
  const read = await readFile('/proc/sys/kernel/random/boot_id', 'utf8').catch(() => `none, process ${process.pid}`);
  const bootId = read.trim();
  return {
    bootId,
    boot: bootDigest(bootId),
    list: () => listRecords(uploads),
    save: (record) => writeFileAtomic(join(uploads, `${record.uploadId}.json`), JSON.stringify(record)),
    journal: (uploadId) => JournalFile.open(join(uploads, `${uploadId}.journal`)),
    async remove(uploadId) {
      await removeFile(join(uploads, `${uploadId}.json`));
      await removeFile(join(uploads, `${uploadId}.journal`));
    },
    async writeLeaves(storeId, key, content) {
      const folder = join(leaves, storeId);
      await mkdir(folder, { recursive: true, mode: 0o700 });
      await writeFileAtomic(join(folder, key), content);
      await syncFolder(leaves);
    },
    readLeaves: (storeId, key) => readIfThere(join(leaves, storeId, key)),
    removeLeaves: (storeId, key) => removeFile(join(leaves, storeId, key)),
  };
}

async function listRecords(folder: string): Promise<KeptRecords> {
  const names = await readdir(folder);
  const records: UploadRecord[] = [];
  const unreadable: UnreadableRecord[] = [];
  for (const name of names) {
    if (isRecord(name)) {
      const found = await readRecord(join(folder, name), name);
      if ('problem' in found) unreadable.push(found);
      else records.push(found);
    } else if (name.endsWith('.new')) await removeFile(join(folder, name));
    else if (name.endsWith('.journal') && !names.includes(name.replace(/\.journal$/, '.json')))
      await removeFile(join(folder, name));
  }
  return { records, unreadable };
}

/** Anything else was put there by somebody. */
function isRecord(name: string): boolean {
  return name.endsWith('.json') && z.uuid().safeParse(name.slice(0, -'.json'.length)).success;
}

async function readRecord(path: string, name: string): Promise<UploadRecord | UnreadableRecord> {
  let text = '';
  try {
    text = await readFile(path, 'utf8');
    return uploadRecord.parse(JSON.parse(text));
  } catch (cause) {
    const problem = new HawserError(
      'store-failed',
      `The agent's record ${name} of this upload cannot be read. Its bytes and its journal are kept: restore agent/uploads/${name} from a backup and start the agent again, or cancel the upload.`,
      { cause },
    );
    // Which generation it is of: reports of another one are not heard.
    const generation = Number(/"generation":(\d{1,15})/.exec(text)?.[1] ?? 1);
    return { uploadId: name.replace(/\.json$/, ''), generation, problem };
  }
}
