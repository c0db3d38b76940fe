import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Cluster, startCluster } from '../agents/cluster.ts';
import type { RealProcess } from '../agents/real-process.ts';
import { CrashProxy, type Target } from './crash-proxy.ts';
import { apiOf, type Mortal, type RoundWorld } from './harness.ts';
import { PeerRelay } from './peer-relay.ts';
import { makeSource } from './source-file.ts';

/** Control and two agents as processes of their own, shared by all rounds. */
export interface AgentsWorld extends RoundWorld, AsyncDisposable {
  readonly server: MortalProcesses;
  readonly cluster: Cluster;
  /** Before the data listener of each agent: what other agents, and control, ask it for. */
  readonly relays: readonly PeerRelay[];
}

/** Those of the cluster whose turn it is to die. */
export class MortalProcesses implements Mortal {
  victims: readonly RealProcess[] = [];
  isAll = false;
  readonly #ready: () => Target;
  #gone: Promise<unknown> = Promise.resolve();

  constructor(ready: () => Target) {
    this.#ready = ready;
  }

  get said(): string {
    return this.victims.map((victim) => victim.log().slice(-2000)).join('\n— and —\n');
  }

  /** All of them at the same moment. */
  kill(): void {
    this.#gone = Promise.all(this.victims.map((victim) => victim.kill9()));
  }

  async gone(): Promise<void> {
    await this.#gone;
  }

  async start(): Promise<Target> {
    await Promise.all(this.victims.map((victim) => victim.restart()));
    return this.#ready();
  }
}

export async function openAgentsWorld(size?: number): Promise<AgentsWorld> {
  const stack = new AsyncDisposableStack();
  try {
    await compileOnce(stack);
    const cluster = stack.use(await startCluster());
    const relays: PeerRelay[] = [];
    for (let index = 0; index < 2; index++) {
      const relay = stack.use(await PeerRelay.open());
      const agent = await cluster.addAgent({ env: { HAWSER_DATA_URL: relay.url } });
      relay.target = agent.addresses.data;
      relays.push(relay);
    }
    await cluster.online();
    const source = await makeSource(join(cluster.folder, 'source.img'), 20_260_401, size);
    const proxy = stack.use(await CrashProxy.open());
    const { control } = cluster;
    const server = new MortalProcesses(() => ({
      api: control.api,
      data: cluster.agent(0).addresses.data ?? '',
    }));
    // Only who ends in peace keeps what it compiled.
    server.victims = [control, cluster.agent(0)];
    proxy.target = await server.start();
    server.victims = [];
    await cluster.online();
    const holders = cluster.agents.map((agent) => agent.dataDir);
    const { folder } = cluster;
    const { token } = control;
    const api = () => apiOf(proxy, token);
    const dispose = () => stack.disposeAsync();
    return { folder, server, proxy, source, token, holders, api, cluster, relays, [Symbol.asyncDispose]: dispose };
  } catch (error) {
    await stack.disposeAsync();
    throw error;
  }
}

/** Processes are started again and again: each takes half as long when nothing is compiled. */
async function compileOnce(stack: AsyncDisposableStack): Promise<void> {
  if (process.env.NODE_COMPILE_CACHE !== undefined) return;
  const folder = await mkdtemp(join(tmpdir(), 'hawser-compiled-'));
  process.env.NODE_COMPILE_CACHE = folder;
  stack.defer(async () => {
    Reflect.deleteProperty(process.env, 'NODE_COMPILE_CACHE');
    await rm(folder, { recursive: true, force: true });
  });
}
