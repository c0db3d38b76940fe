import { createHash } from 'node:crypto';
import { copyFile, open, readdir, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import type { ImageResource } from '../../src/contract/api/image.ts';
import { isHawserError } from '../../src/core/errors.ts';
import { RangeSet, rangeEnd } from '../../src/core/range.ts';
import { JournalFile } from '../../src/host/journal-file.ts';
import type { AgentsWorld } from './agents-world.ts';
import { text } from './ledger.ts';

const MiB = 1024 * 1024;

/** A target that takes longer than 31 s to start is another matter. */
const MOST_TRIES = 5;

/** When to kill, by what lies in the Store of the target. */
export type CopyMoment =
  | { readonly kind: 'begun' }
  /** So large a part of the data is on its disk (0 to 1). */
  | { readonly kind: 'on-disk'; readonly part: number }
  /** All of the data is there since so many milliseconds: it is compared, sealed, told. */
  | { readonly kind: 'complete'; readonly delayMs: number };

export interface Replication {
  readonly imageId: string;
  /** Numbers of agents. */
  readonly from: number;
  readonly to: number;
}

/**
 * A second Copy of an Image, whose processes (`world.server.victims`) are killed at the moment and started again.
 * Rejects with what is wrong: bytes that are not the source, what had arrived and is asked for again, more than
 * one Task, Copy or file. Resolves with how many bytes of data and zeros had arrived before the kill.
 */
export async function killReplication(
  world: AgentsWorld,
  { imageId, from, to }: Replication,
  at: CopyMoment,
): Promise<number> {
  const known = new Set((await world.api().tasks({ imageId })).items.map(({ id }) => id));
  await world.api().changeImage(imageId, { placement: { minCopies: 2 } });
  const target = world.cluster.agent(to).dataDir;
  await moment(world, target, at);
  world.server.kill();
  await world.server.gone();
  const relay = world.relays[from];
  const mark = relay?.asked.length ?? 0;
  const arrived = await journaled(target);
  await world.server.start();
  await patiently('two copies are ready', async () => {
    const { copies } = await world.api().image(imageId);
    return copies.length === 2 && copies.every(({ state }) => state === 'ready');
  });
  for (const range of relay?.asked.slice(mark) ?? []) {
    const again = wholeBlocks(arrived).inside(range);
    for (const part of again) throw new Error(`${text(range)} was asked for although ${text(part)} had arrived`);
  }
  const made = (await world.api().tasks({ imageId })).items.filter(({ id }) => !known.has(id));
  // One whose target died before it had answered that it begins has ended, and another one is begun: after 1, 2, 4 … s
  // until the target is there again.
  const counted = made.filter(
    ({ state, cause }) => arrived.bytes > 0 || state !== 'FAILURE' || cause !== 'unavailable',
  );
  const found = counted.map(({ kind, state }) => `${kind} ${state}`).join();
  if (found !== 'replicate SUCCESS' || made.length > counted.length + MOST_TRIES) {
    const why = made.map(({ kind, state, status }) => `${kind} ${state}: ${status}`).join('\n');
    throw new Error(`The tasks are not one replicate SUCCESS:\n${why}\n${world.server.said}`);
  }
  await sameFiles(world);
  return arrived.bytes;
}

/** The Copy on this agent is removed, the other one stays. */
export async function removeCopyOn(world: AgentsWorld, imageId: string, index: number): Promise<void> {
  const { name, dataDir } = world.cluster.agent(index);
  await world.api().changeImage(imageId, { placement: { minCopies: 1 } });
  const image: ImageResource = await world.api().image(imageId);
  await world.api().cleanup(
    imageId,
    image.copies.filter(({ hostName }) => hostName === name).map(({ id }) => id),
  );
  await patiently('the object is removed', async () => (await readdir(objectsOf(dataDir))).length === 0);
}

async function moment(world: AgentsWorld, dataDir: string, at: CopyMoment): Promise<void> {
  const incoming = join(dataDir, 'stores/default/incoming');
  const wanted = at.kind === 'begun' ? 0 : at.kind === 'complete' ? 1 : at.part;
  for (;;) {
    const [name] = await readdir(incoming);
    if ((await readdir(objectsOf(dataDir))).length > 0) break; // all of it came between two looks
    const there = name === undefined ? undefined : await stat(join(incoming, name)).catch(() => undefined);
    if (there !== undefined && there.blocks * 512 >= wanted * world.source.dataBytes) break;
    await wait(1);
  }
  if (at.kind === 'complete') await wait(at.delayMs);
}

/** What the journal of the only Upload says: what had arrived when its agent, or the others, were killed. */
async function journaled(dataDir: string): Promise<RangeSet> {
  const ranges = new RangeSet();
  const folder = join(dataDir, 'agent/uploads');
  const name = (await readdir(folder)).find((one) => one.endsWith('.journal'));
  if (name === undefined) return ranges;
  const copy = `${dataDir}.journal`; // opening it cuts a torn end, which is the agent's to do
  // An agent that lives may have finished meanwhile.
  if (
    !(await copyFile(join(folder, name), copy).then(
      () => true,
      () => false,
    ))
  )
    return ranges;
  await using journal = await JournalFile.open(copy);
  for await (const record of journal.records()) {
    if (record.kind === 'data' || record.kind === 'zero') ranges.add(record);
    if (record.kind === 'discard') ranges.remove(record);
  }
  await rm(copy);
  return ranges;
}

/** A block that has not come whole is fetched whole again. */
function wholeBlocks(ranges: RangeSet): RangeSet {
  const whole = new RangeSet();
  for (const range of ranges) {
    const first = Math.ceil(range.offset / MiB) * MiB;
    const end = Math.floor(rangeEnd(range) / MiB) * MiB;
    if (end > first) whole.add({ offset: first, length: end - first });
  }
  return whole;
}

/** On each agent one object, the same bytes as the source, and nothing else. */
async function sameFiles(world: AgentsWorld): Promise<void> {
  const wanted = await sha256(world.source.path);
  for (const { dataDir } of world.cluster.agents) {
    await patiently('the journal is gone', async () => (await readdir(join(dataDir, 'agent/uploads'))).length === 0);
    const left = await readdir(join(dataDir, 'stores/default/incoming'));
    const [key, ...others] = await readdir(objectsOf(dataDir));
    if (key === undefined || others.length > 0 || left.length > 0) {
      throw new Error(`${dataDir} holds ${key} and ${others}, not one object; in incoming ${left}`);
    }
    const found = await sha256(join(objectsOf(dataDir), key));
    if (found !== wanted) throw new Error(`the file in ${dataDir} has sha256 ${found}, the source ${wanted}`);
  }
}

const hashed = new Map<string, string>();

async function sha256(path: string): Promise<string> {
  await using file = await open(path);
  const { size, mtimeMs, ino } = await file.stat();
  const key = `${path} ${size} ${mtimeMs} ${ino}`;
  const known = hashed.get(key);
  if (known !== undefined) return known;
  const hash = createHash('sha256');
  const block = Buffer.alloc(4 * MiB);
  for (let at = 0; at < size; ) {
    const { bytesRead } = await file.read(block, 0, block.length, at);
    hash.update(block.subarray(0, bytesRead));
    at += bytesRead;
  }
  const hex = hash.digest('hex');
  hashed.set(key, hex);
  return hex;
}

function objectsOf(dataDir: string): string {
  return join(dataDir, 'stores/default/objects');
}

/** Asks again while control is not there, or waits for its agents. The limit is there for the message only. */
async function patiently(what: string, holds: () => Promise<boolean>): Promise<void> {
  for (let tries = 0; tries < 12_000; tries++) {
    try {
      if (await holds()) return;
    } catch (error) {
      if (!isHawserError(error)) throw error;
    }
    await wait(20);
  }
  throw new Error(`This never came: ${what}`);
}
