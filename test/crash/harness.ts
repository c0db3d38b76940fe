import { type FileHandle, mkdtemp, open, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { ApiClient } from '../../src/client/api-client.ts';
import { systemClock } from '../../src/client/system-clock.ts';
import type { UploadResource } from '../../src/contract/api/upload.ts';
import { isHawserError } from '../../src/core/errors.ts';
import type { Range } from '../../src/core/range.ts';
import { makeDataFolder } from '../data-folder.ts';
import { CrashProxy, type Moment, type Target } from './crash-proxy.ts';
import { Ledger, text } from './ledger.ts';
import type { Kill, Plan } from './plan.ts';
import { ServerGroup } from './server-group.ts';
import { makeSource, type SourceFile } from './source-file.ts';

const MiB = 1024 * 1024;

export interface ClientJob {
  /** The proxy: the same for the whole round. */
  readonly url: string;
  readonly token: string;
  readonly file: string;
  /** The name of the Image. */
  readonly name: string;
  /** For whatever the client keeps. */
  readonly folder: string;
}

export type ClientEnd =
  | { readonly kind: 'done' }
  | { readonly kind: 'killed' }
  | { readonly kind: 'failed'; readonly said: string };

/** One life of a client. */
export interface ClientLife {
  /** Never rejects. */
  readonly ended: Promise<ClientEnd>;
  /** kill -9 of all its processes, now; also when it has ended. */
  kill(): void;
  /** Resolves when no process of it is left. */
  close(): Promise<void>;
}

/**
 * What every door's client brings to the crash suite: begin to upload `file` under `name`, or go on
 * with it after the client was killed. It must outlast a killed server by itself.
 */
export interface CrashClient {
  /**
   * Whether what was acknowledged is told as ranges at once. Chunks whose place is not known yet are not; that
   * none of them was lost is seen by nothing being sent again.
   */
  readonly ranges?: 'told' | 'later';
  start(job: ClientJob): Promise<ClientLife>;
}

/** What the kills of a round hit: one server, or several processes that are one to the client. */
export interface Mortal {
  /** Its last words, for reports. */
  readonly said: string;
  /** Nobody answers while it is dead; else the client goes on with those that live. */
  readonly isAll: boolean;
  /** kill -9, now. */
  kill(): void;
  /** Resolves when what was killed is gone. */
  gone(): Promise<void>;
  /** Starts again what was killed. */
  start(): Promise<Target>;
}

/** What is needed for a round. */
export interface RoundWorld {
  readonly folder: string;
  readonly server: Mortal;
  readonly proxy: CrashProxy;
  readonly source: SourceFile;
  readonly token: string;
  /** Data folders whose Store `default` has one Copy of the Image each in the end; with as many the Image is asked for. */
  readonly holders: readonly string[];
  /** Past the proxy, at the server that runs now. */
  api(): ApiClient;
}

export interface CrashWorld extends RoundWorld, AsyncDisposable {
  readonly server: ServerGroup;
}

export interface WorldOptions {
  readonly size?: number;
  /** Arguments of the server's node, for builds that are not the real one. */
  readonly nodeArgs?: readonly string[];
}

/** One server, one data folder and one source file for many rounds. */
export async function openWorld({ size, nodeArgs }: WorldOptions = {}): Promise<CrashWorld> {
  const stack = new AsyncDisposableStack();
  try {
    const folder = await mkdtemp(join(tmpdir(), 'hawser-crash-'));
    stack.defer(() => rm(folder, { recursive: true, force: true }));
    const source = await makeSource(join(folder, 'source.img'), 20_260_301, size);
    const proxy = stack.use(await CrashProxy.open());
    const server = stack.use(new ServerGroup(await makeDataFolder(join(folder, 'data')), nodeArgs));
    proxy.target = await server.start();
    const token = await server.token();
    const world = { folder, server, proxy, source, token, holders: [server.dataDir] };
    return { ...world, api: () => apiOf(proxy, token), [Symbol.asyncDispose]: () => stack.disposeAsync() };
  } catch (error) {
    await stack.disposeAsync();
    throw error;
  }
}

export function apiOf(proxy: CrashProxy, token: string): ApiClient {
  if (proxy.target === undefined) throw new Error('no server runs now');
  return new ApiClient({ server: proxy.target.api, token, fetch, clock: systemClock });
}

/**
 * One image through all the kills of the plan. Rejects with what is wrong: bytes that were acknowledged
 * and are lost, or were sent again, an image that is not the source, something that is left behind.
 * Resolves with the kills that took place (an upload may end before the last moment comes).
 */
export async function runRound(world: RoundWorld, client: CrashClient, plan: Plan): Promise<readonly Kill[]> {
  const { proxy } = world;
  const ledger = new Ledger();
  proxy.ledger = ledger;
  const name = `crash-${plan.seed}.img`;
  const { folder, source, token } = world;
  const job: ClientJob = { url: proxy.url, token, file: source.path, name, folder };
  const done: Kill[] = [];
  let life = await client.start(job);
  try {
    for (const kill of plan.kills) {
      const armed = arm(world, kill, () => (kill.who === 'server' ? world.server.kill() : life.kill()));
      const first = await Promise.race([armed.struck, life.ended]);
      armed.disarm();
      if (first !== 'struck') await armed.settled();
      if (!armed.hasStruck()) break;
      done.push(kill);
      if (kill.who === 'server') await bringBack(world, name, client.ranges ?? 'told');
      else {
        await life.close();
        life = await client.start(job);
      }
    }
    const end = await life.ended;
    if (end.kind !== 'done') throw new Error(`The client ended by itself without success: ${JSON.stringify(end)}`);
    if (ledger.repeated.length > 0)
      throw new Error(`Acknowledged bytes were sent again:\n${ledger.repeated.join('\n')}`);
    await checkOutcome(world, name);
    return done;
  } catch (cause) {
    throw new Error(`${message(cause)}\n${report(world, plan, done)}`, { cause });
  } finally {
    proxy.onMoment = () => true;
    await life.close();
    proxy.passable = true;
  }
}

interface Armed {
  readonly struck: Promise<'struck'>;
  hasStruck(): boolean;
  /** Moments count no more. */
  disarm(): void;
  /** When the moment has come and the kill is due a few milliseconds later: waits for that. */
  settled(): Promise<void>;
}

/** Kills at the moment, in the middle of whatever the proxy is doing. */
function arm(world: RoundWorld, { who, at }: Kill, kill: () => void): Armed {
  const { proxy, source } = world;
  const { promise: struck, resolve } = Promise.withResolvers<'struck'>();
  let state: 'waiting' | 'due' | 'struck' = 'waiting';
  const strike = () => {
    if (state === 'struck') return;
    state = 'struck';
    if (who === 'server' && world.server.isAll) proxy.passable = false;
    kill();
    resolve('struck');
  };
  const isNow = (moment: Moment): boolean => {
    const { acknowledged, bodyBytes } = proxy.ledger;
    switch (at.kind) {
      case 'acknowledged':
        return moment.kind === 'acknowledged' && acknowledged.bytes >= at.part * source.size;
      case 'moved':
        return moment.kind === 'moved' && bodyBytes >= at.part * source.dataBytes;
      case 'complete':
        return moment.kind === 'acknowledged' && acknowledged.bytes === source.size;
      case 'finish-answer-lost':
        return moment.kind === 'finish-answer';
      default:
        return moment.kind === at.kind;
    }
  };
  proxy.onMoment = (moment) => {
    if (state !== 'waiting' || !isNow(moment)) return true;
    if (at.kind === 'finish-request' && at.delayMs > 0) {
      state = 'due';
      setTimeout(strike, at.delayMs);
    } else strike();
    return at.kind !== 'finish-answer-lost';
  };
  return {
    struck,
    hasStruck: () => state === 'struck',
    disarm: () => {
      proxy.onMoment = () => true;
    },
    settled: async () => {
      if (state === 'due') await struck;
    },
  };
}

/** Starts the server again on the same folder and looks, before any client does, whether it has what it acknowledged. */
async function bringBack(world: RoundWorld, name: string, ranges: 'told' | 'later'): Promise<void> {
  const { proxy, server } = world;
  await server.gone();
  if (server.isAll) await proxy.drained();
  proxy.target = await server.start();
  const api = world.api();
  const upload = await uploadOf(api, name);
  // Taken before the question: a client of what lives goes on all the time.
  const ledger = proxy.ledger.now();
  const lost = ranges === 'later' ? [] : ledger.lost(await receivedNow(api, upload));
  if (lost.length > 0) {
    throw new Error(`Acknowledged bytes were lost when the server was killed: ${lost.map(text).join(' ')}`);
  }
  proxy.passable = true;
}

/** What the server has: the ranges it tells, and all of it once the image is ready. */
async function receivedNow(api: ApiClient, upload: UploadResource): Promise<readonly Range[]> {
  for (let tries = 0; ; tries++) {
    try {
      return (await api.ranges(upload.id)).ranges;
    } catch (error) {
      if (!isHawserError(error)) throw error;
      const image = await api.image(upload.imageId);
      if (image.state === 'ready' && image.size !== null) return [{ offset: 0, length: image.size }];
      // Its agent is not back yet, or its client finishes it at this moment.
      if ((error.code !== 'unavailable' && error.code !== 'conflict') || tries > 6000) throw error;
      await wait(10);
    }
  }
}

/** The one Upload of this name: a killed client that begins another one has not resumed. */
async function uploadOf(api: ApiClient, name: string): Promise<UploadResource> {
  const items = (await api.uploads({ name })).items.filter(({ purpose }) => purpose === 'fill');
  const [upload] = items;
  if (upload === undefined || items.length > 1) throw new Error(`${items.length} uploads are called ${name}, not one`);
  return upload;
}

async function checkOutcome(world: RoundWorld, name: string): Promise<void> {
  const api = world.api();
  const upload = await uploadOf(api, name);
  const image = await api.image(upload.imageId);
  const task = await api.task(upload.taskId);
  const wanted = `tree-sha256:${world.source.treeDigest}`;
  const found = { upload: upload.state, image: image.state, task: task.state, size: image.size };
  const right = { upload: 'sealed', image: 'ready', task: 'SUCCESS', size: world.source.size };
  if (JSON.stringify(found) !== JSON.stringify(right) || !image.digests.includes(wanted)) {
    throw new Error(`Wanted ${JSON.stringify(right)} ${wanted}, found ${JSON.stringify(found)} ${image.digests}`);
  }
  await allCopies(world, image.id);
  for (const holder of world.holders) {
    const store = join(holder, 'stores/default');
    const left = async (...folder: readonly string[]) => (await readdir(join(...folder))).length;
    await until('nothing is left in incoming', async () => (await left(store, 'incoming')) === 0);
    await until('the journal is gone', async () => (await left(holder, 'agent/uploads')) === 0);
    const [key, ...others] = await readdir(join(store, 'objects'));
    if (key === undefined || others.length > 0) throw new Error(`The store holds ${key} and ${others}, not one object`);
    await using stored = await open(join(store, 'objects', key));
    await sameBytes(
      world,
      stored.createReadStream({ highWaterMark: 4 * MiB, autoClose: false }),
      `the file in ${store}`,
    );
  }
  const download = await fetch(`${world.proxy.target?.api}/api/v1/images/${image.id}/data`, {
    headers: { authorization: `Bearer ${world.token}` },
  });
  if (download.status !== 200 || download.body === null)
    throw new Error(`The download was answered ${download.status}`);
  await sameBytes(world, download.body, 'the download');
  await api.removeImage(image.id);
  for (const holder of world.holders) {
    await until(
      'the object is removed',
      async () => (await readdir(join(holder, 'stores/default/objects'))).length === 0,
    );
  }
}

/** A ready Copy at each holder, and one Task that brought it. A door may want a digest besides. */
async function allCopies({ api, holders }: RoundWorld, imageId: string): Promise<void> {
  await until('all copies are ready', async () => {
    const { copies } = await api().image(imageId);
    return copies.length === holders.length && copies.every(({ state }) => state === 'ready');
  });
  const { items } = await api().tasks({ imageId });
  const found = items
    .filter(({ kind }) => kind !== 'digest')
    .map(({ kind, state }) => `${kind} ${state}`)
    .sort();
  const wanted = [...holders.slice(1).map(() => 'replicate SUCCESS'), 'upload SUCCESS'];
  if (found.join() !== wanted.join()) throw new Error(`The tasks are ${found.join(', ')}, not ${wanted.join(', ')}`);
}

async function sameBytes(world: RoundWorld, bytes: AsyncIterable<Uint8Array>, what: string): Promise<void> {
  await using file = await open(world.source.path);
  let at = 0;
  let block = Buffer.alloc(0);
  for await (const chunk of bytes) {
    if (block.length < chunk.byteLength) block = Buffer.alloc(chunk.byteLength);
    const wanted = block.subarray(0, await readSome(file, block, chunk.byteLength, at));
    if (!wanted.equals(Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength))) {
      throw new Error(`${what} is not the source: it differs between ${at} and ${at + chunk.byteLength}`);
    }
    at += chunk.byteLength;
  }
  if (at !== world.source.size) throw new Error(`${what} has ${at} bytes, the source ${world.source.size}`);
}

async function readSome(file: FileHandle, into: Buffer, length: number, at: number): Promise<number> {
  return (await file.read(into, 0, length, at)).bytesRead;
}

/** Waits for what the server does after it has answered. The limit is there for the message only. */
async function until(what: string, holds: () => Promise<boolean>): Promise<void> {
  for (let tries = 0; !(await holds()); tries++) {
    if (tries > 12_000) throw new Error(`This never came: ${what}`);
    await wait(10);
  }
}

function report(world: RoundWorld, plan: Plan, done: readonly Kill[]): string {
  const { ledger } = world.proxy;
  const last = ledger.passed.slice(-12).map((entry) => {
    const ranges = entry.what === 'ranges' ? `${entry.ranges.length} ranges` : entry.ranges.map(text).join(' ');
    return `  ${entry.what} ${ranges.slice(0, 200)} ${entry.bytes} bytes → ${entry.status ?? 'no answer'}`;
  });
  return [
    `Plan of seed ${plan.seed}: ${JSON.stringify(plan.kills)}, ${done.length} of them took place.`,
    `Acknowledged: ${ledger.acknowledged.bytes} bytes. The last that passed the proxy:`,
    ...last,
    `The server's last words:\n${world.server.said.slice(-2000)}`,
  ].join('\n');
}

function message(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
