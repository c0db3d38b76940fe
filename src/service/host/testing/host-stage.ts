import { randomBytes, randomUUID } from 'node:crypto';
import { lookup } from 'node:dns/promises';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { pino } from 'pino';
import type { PullSource, UploadReport } from '../../../contract/link.ts';
import type { Mover } from '../../../core/mover.ts';
import { lendConnection } from '../../../doors/_http/lent-connection.ts';
import { createServer } from '../../../doors/_http/server.ts';
import { dataDoor } from '../../../doors/data/data-door.ts';
import { HashPool } from '../../../engine/hash-pool.ts';
import { SlabPool } from '../../../engine/slab-pool.ts';
import { sourceOf } from '../../../engine/testing/rig.ts';
import { openStateFolder } from '../../../host/state-folder.ts';
import type { TlsKeys } from '../../../host/tls.ts';
import { openPeers } from '../../../links/peer/open-peers.ts';
import { addressGuard } from '../../../links/url/address-guard.ts';
import { openUrls } from '../../../links/url/open-urls.ts';
import { pinnedTls } from '../../../native/pinned-tls.ts';
import { openSocketMover } from '../../../native/socket-mover.ts';
import { openFileStore } from '../../../stores/file/store.ts';
import type { Store } from '../../../stores/store.ts';
import { HostAgent } from '../host-agent.ts';
import type { PullMeans } from '../host-pulls.ts';

export const never = new AbortController().signal;

export type UploadRef = { readonly uploadId: string; readonly generation: number };
export type OpenedUpload = UploadRef & { readonly key: string; readonly storeId: string };
export type CopySource = Extract<PullSource, { kind: 'copy' }>;
export interface OpenOptions {
  readonly declaredSize?: number | null;
  readonly maxSize?: number;
  readonly store?: number;
}

/** A real agent over a real state folder, two file Stores and a data listener on loopback. */
export interface HostStage extends AsyncDisposable {
  readonly agent: HostAgent;
  readonly folder: string;
  readonly storeIds: readonly string[];
  readonly stores: readonly Store[];
  readonly slabs: SlabPool;
  /** Bytes that came by the mover. */
  readonly moved: () => number;
  /** Base URL of its data listener. */
  readonly url: string;
  /** How long it waited between tries, instead of waiting. */
  readonly waits: number[];
  open(options?: OpenOptions): Promise<OpenedUpload>;
  /** A sealed Copy with these bytes, in zeros where `bytes` has them. */
  sealed(bytes: Uint8Array): Promise<SealedCopy>;
  /** What another agent fetches it with. */
  sourceFor(copy: SealedCopy, url?: string): Promise<CopySource>;
  pull(ref: UploadRef, source: PullSource): Promise<UploadReport>;
  /** Resolves once its report satisfies `wanted`. */
  until(ref: UploadRef, wanted: (report: UploadReport) => boolean): Promise<UploadReport>;
  /** Waits until the fetching is done (or failed), finishes. */
  finish(ref: UploadRef, treeDigest?: string | null): Promise<UploadReport>;
  /** All bytes under a sealed key. */
  content(storeId: string, key: string): Promise<Buffer>;
  restart(): Promise<void>;
}

export interface SealedCopy {
  readonly storeId: string;
  readonly key: string;
  readonly size: number;
  readonly treeDigest: string;
}

export interface StageOptions extends Partial<PullMeans> {
  /** Of its data listener. */
  readonly tls?: TlsKeys;
}

export async function hostStage({ tls, ...means }: StageOptions = {}): Promise<HostStage> {
  const folder = await mkdtemp(join(tmpdir(), 'hawser-host-'));
  const hashes = new HashPool(2);
  const slabs = new SlabPool(12);
  const stores = await Promise.all(['a', 'b'].map((name) => openFileStore({ name, path: join(folder, name) })));
  const storeIds = stores.map(() => randomUUID());
  const state = await openStateFolder(join(folder, 'agent'));
  const waits: number[] = [];
  const mover = watchedMover();
  const start = () =>
    HostAgent.start({
      hostId: randomUUID(),
      name: 'test',
      bootId: 'boot',
      version: '0',
      dataUrls: () => [],
      stores: stores.map((store, i) => ({ storeId: storeIds[i] ?? '', name: `store ${i}`, store })),
      state,
      means: { slabs, hashes, mover },
      totalRate: null,
      now: () => new Date(),
      monotonic: () => performance.now(),
      log: { info: () => {}, warn: () => {} },
      pulls: { ...plainMeans(), patience: patience(waits), ...means },
    });
  let agent = await start();
  const listener = await listen(() => agent, tls);
  return {
    get agent() {
      return agent;
    },
    folder,
    stores,
    storeIds,
    slabs,
    waits,
    moved: () => mover.moved,
    url: listener.url,
    open: (options) => open(agent, storeIds, options),
    sealed: (bytes) => sealed(agent, storeIds, bytes),
    sourceFor: (copy, url = listener.url) => sourceFor(agent, copy, url),
    pull: ({ uploadId, generation }, source) => agent.call('startPull', { uploadId, generation, source }),
    until: (ref, wanted) => until(agent, ref, wanted),
    finish: (ref, treeDigest = null) => finish(agent, ref, treeDigest),
    content: (storeId, key) => content(storeOf(stores, storeIds, storeId), key),
    async restart() {
      await agent.close();
      agent = await start();
    },
    async [Symbol.asyncDispose]() {
      await agent.close();
      await listener.close();
      await Promise.all(stores.map((store) => store.close()));
      await mover[Symbol.asyncDispose]();
      await hashes[Symbol.asyncDispose]();
      await rm(folder, { recursive: true, force: true });
    },
  };
}

/** The real one, where this machine has one, and how much it brought. */
function watchedMover(): Mover & AsyncDisposable & { readonly moved: number } {
  const real = openSocketMover();
  let moved = 0;
  return {
    get moved() {
      return moved;
    },
    begin: (request, events) =>
      real?.begin(request, {
        moved: (segments) => {
          for (const { length } of segments) moved += length;
          events.moved(segments);
        },
        ended: events.ended,
      }),
    [Symbol.asyncDispose]: async () => real?.[Symbol.asyncDispose](),
  };
}

function plainMeans(): Omit<PullMeans, 'patience'> {
  const passed = () => {};
  const guard = addressGuard({ allow: ['127.0.0.0/8'], own: () => [] });
  const resolve = (host: string) => lookup(host, { all: true });
  const openPeer = openPeers({ passed, lend: lendConnection, connectPinned: pinnedTls() });
  return { openPeer, openUrl: openUrls({ guard, resolve, passed, now: () => new Date() }), unpackAtOnce: 2 };
}

/** Notes how long it was to wait, and hardly waits. */
function patience(waits: number[]): PullMeans['patience'] {
  return {
    tries: 5,
    random: Math.random,
    delay: async (ms, signal) => {
      waits.push(ms);
      await setTimeout(5, undefined, { signal });
    },
  };
}

/** A data listener that goes on with the agent of after a restart. */
async function listen(
  agent: () => HostAgent,
  tls: TlsKeys | undefined,
): Promise<{ readonly url: string; readonly close: () => Promise<void> }> {
  const server = createServer({ log: pino({ level: 'silent' }), tls, randomId: randomUUID });
  const { plane, tickets } = agent();
  await dataDoor(server, {
    plane: following(plane, () => agent().plane),
    tickets: following(tickets, () => agent().tickets),
  });
  await server.listen({ host: '127.0.0.1', port: 0 });
  const address = server.server.address();
  const port = typeof address === 'object' && address !== null ? address.port : 0;
  return { url: `${tls === undefined ? 'http' : 'https'}://127.0.0.1:${port}`, close: () => server.close() };
}

function following<T extends object>(first: T, current: () => T): T {
  return new Proxy(first, {
    get: (_, name) => {
      const now = current();
      const found: unknown = Reflect.get(now, name);
      return typeof found === 'function' ? found.bind(now) : found;
    },
  });
}

async function open(
  agent: HostAgent,
  storeIds: readonly string[],
  { declaredSize = null, maxSize, store = 0 }: OpenOptions = {},
): Promise<OpenedUpload> {
  const ref = { uploadId: randomUUID(), generation: 1 };
  const place = { key: randomUUID(), storeId: storeIds[store] ?? '' };
  const rateLimit = { task: null, user: null, userId: 'u' };
  const rest = { reserve: 0, format: 'raw' as const, rateLimit, digests: [] };
  await agent.call('openUpload', { ...ref, ...place, ...rest, declaredSize, maxSize: maxSize ?? null });
  return { ...ref, ...place };
}

async function sealed(agent: HostAgent, storeIds: readonly string[], bytes: Uint8Array): Promise<SealedCopy> {
  const { uploadId, generation, key, storeId } = await open(agent, storeIds, { declaredSize: bytes.length });
  await agent.plane.receive(uploadId, { offset: 0, length: bytes.length, total: null }, sourceOf(bytes), never);
  const report = await agent.call('finishUpload', { uploadId, generation, size: null, treeDigest: null });
  await agent.call('forgetUpload', { uploadId, generation });
  return { storeId, key, size: bytes.length, treeDigest: report.sealed?.treeDigest ?? '' };
}

async function sourceFor(
  agent: HostAgent,
  { storeId, key, size, treeDigest }: SealedCopy,
  url: string,
): Promise<CopySource> {
  const ticketId = randomBytes(32).toString('base64url');
  const subject = { kind: 'copy', storeId, key } as const;
  await agent.call('installTicket', { ticketId, subject, ops: ['read'], timeoutSeconds: 60 });
  const about = { kind: 'copy', ca: null, size, treeDigest, local: null } as const;
  return { ...about, url: `${url}/data/v1/copies/${storeId}/${key}`, ticket: ticketId };
}

async function finish(
  agent: HostAgent,
  { uploadId, generation }: UploadRef,
  treeDigest: string | null,
): Promise<UploadReport> {
  const ref = { uploadId, generation };
  const pulled = await until(agent, ref, ({ pull }) => pull === 'done' || pull === 'failed');
  if (pulled.pull === 'failed') throw new Error(`${pulled.problem?.code}: ${pulled.problem?.message}`);
  return agent.call('finishUpload', { ...ref, size: null, treeDigest });
}

async function content(store: Store | undefined, key: string): Promise<Buffer> {
  if (store === undefined) throw new Error('no such store');
  await using reader = await store.open(key);
  const bytes = Buffer.alloc(reader.size);
  await reader.read(bytes, 0);
  return bytes;
}

/** By the agent's own events, without asking again and again. */
async function until(
  agent: HostAgent,
  { uploadId, generation }: UploadRef,
  wanted: (report: UploadReport) => boolean,
): Promise<UploadReport> {
  const found = Promise.withResolvers<UploadReport>();
  const look = (report: UploadReport) => {
    if (report.uploadId === uploadId && wanted(report)) found.resolve(report);
  };
  const stop = new AbortController();
  await agent.subscribe((event) => {
    if (event.kind === 'upload') look(event.upload);
    if (event.kind === 'full') event.uploads.forEach(look);
  }, stop.signal);
  look(await agent.call('describeUpload', { uploadId, generation }));
  try {
    return await found.promise;
  } finally {
    stop.abort();
  }
}

function storeOf(stores: readonly Store[], storeIds: readonly string[], storeId: string): Store | undefined {
  return stores[storeIds.indexOf(storeId)];
}
