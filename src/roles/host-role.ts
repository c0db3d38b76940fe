import { availableParallelism } from 'node:os';
import type { Config } from '../config/schema.ts';
import type { HttpServer } from '../doors/_http/server.ts';
import { createLinkDoor } from '../doors/agent/link-door.ts';
import type { StoreCounts } from '../doors/api/metrics.ts';
import { dataDoor } from '../doors/data/data-door.ts';
import type { UploadServerTls } from '../doors/longhorn/upload-server.ts';
import { HashPool } from '../engine/hash-pool.ts';
import { SlabPool } from '../engine/slab-pool.ts';
import type { DataFolder } from '../host/data-folder.ts';
import { openNamedImages } from '../host/named-image-folder.ts';
import { socketPath } from '../host/socket-path.ts';
import { openStateFolder } from '../host/state-folder.ts';
import { openMoverLanes, openSenderLanes } from '../native/lanes.ts';
import { HostAgent, type Membership } from '../service/host/host-agent.ts';
import type { HostLog } from '../service/host/ports.ts';
import { startGrpc } from './grpc-part.ts';
import { openTickets, startImageio } from './imageio-part.ts';
import { openStores } from './open-stores.ts';
import { pullMeans } from './pull-means.ts';
import { uploadServerMeans } from './upload-server-means.ts';

/** Buffers of 1 MiB for everything that moves at once. */
const SLABS = 24;

export interface HostRole extends AsyncDisposable {
  readonly agent: HostAgent;
  readonly bootId: string;
  readonly socket: string;
  /** Where Longhorn's gRPC calls are answered, if anywhere. */
  readonly grpcAddress: string | undefined;
  /** Of the imageio door, as in `run/addresses.json`. */
  readonly imageio: Readonly<Record<string, string>>;
  /** For metrics. */
  readonly counts: readonly StoreCounts[];
  /** There is a new certificate: listeners that were not made for each connection take it. */
  readonly renewed: () => void;
  /** Stops what is under way; what was received stays. */
  quiet(): Promise<void>;
}

export interface HostRoleParts {
  readonly config: Config;
  readonly folder: DataFolder;
  readonly version: string;
  readonly log: HostLog;
  /** The data listener, not listening yet. */
  readonly dataServer: HttpServer;
  /** Known only once it listens. */
  readonly dataUrls: () => readonly string[];
  /** As HostAgentParts has it. */
  readonly membership?: (() => Partial<Membership>) | undefined;
  /** Of upload servers and gRPC, looked at for each connection; undefined: they are open. */
  readonly uploadServerTls: () => UploadServerTls | undefined;
}

/** The agent on this machine: its Stores, its state, the link on a unix socket and the routes of the data listener. */
export async function startHost(parts: HostRoleParts): Promise<HostRole> {
  const { config, folder, version, log } = parts;
  // Closed in the reverse order, also when a later step of the start fails.
  await using undo = new AsyncDisposableStack();
  const mover = openMoverLanes();
  undo.defer(async () => mover?.[Symbol.asyncDispose]());
  const sender = undo.use(openSenderLanes());
  const hashes = undo.use(new HashPool(Math.min(4, availableParallelism())));
  const { stores, counts, identity } = await openStores(config, folder, log);
  undo.defer(async () => void (await Promise.all(stores.map(({ store }) => store.close()))));
  const state = await openStateFolder(folder.at('agent'));
  const slabs = new SlabPool(SLABS);
  const tickets = await openTickets({ config, folder, slabs, bootId: state.bootId, log }, undo);
  const named = await openNamedImages(folder.at('agent', 'named'));
  const agent = await HostAgent.start({
    named,
    hostId: identity.hostId,
    name: identity.name,
    bootId: state.bootId,
    version,
    dataUrls: parts.dataUrls,
    membership: parts.membership,
    stores,
    state,
    means: { slabs, hashes, mover, sender },
    tickets,
    totalRate: config.limits.totalRate,
    pulls: pullMeans(config.downloads.allow),
    uploadServers: await uploadServerMeans({
      config,
      folder: folder.at('agent', 'chunks'),
      tls: parts.uploadServerTls,
      dataUrls: parts.dataUrls,
      log,
    }),
    now: () => new Date(),
    monotonic: () => performance.now(),
    log,
  });
  await dataDoor(parts.dataServer, { plane: agent.plane, tickets: agent.tickets });
  const grpc = await startGrpc({ config, agent, named, tls: parts.uploadServerTls, version, log });
  undo.defer(async () => grpc?.close());
  const door = createLinkDoor(agent);
  const socket = await socketPath(folder.at('run'), 'agent.sock');
  await door.listen({ path: socket });
  undo.defer(() => door.close());
  const imageio = await startImageio({ config, folder, tickets, version, log }, undo);
  const held = undo.move();
  return {
    agent,
    imageio,
    bootId: state.bootId,
    socket,
    grpcAddress: grpc?.address,
    counts,
    renewed: () => grpc?.renewed(),
    async quiet() {
      await tickets.close();
      await agent.close();
    },
    [Symbol.asyncDispose]: () => held.disposeAsync(),
  };
}
