import { randomUUID } from 'node:crypto';
import { join } from 'node:path';
import type { ByteSource } from '../../src/core/bytes.ts';
import type { EngineMeans } from '../../src/engine/incoming.ts';
import type { JournalRecord } from '../../src/engine/upload-journal.ts';
import { openStateFolder } from '../../src/host/state-folder.ts';
import { HostAgent } from '../../src/service/host/host-agent.ts';
import type { StateFolder } from '../../src/service/host/ports.ts';
import { openStore } from '../../src/stores/index.ts';
import { withFault } from '../../src/stores/layers/fault.ts';

export const storeId = randomUUID();

/** Where the process ends: at the `at`-th thing it does to the disk, from 0. */
export interface Death {
  readonly at: number;
  readonly when: 'before' | 'half' | 'after';
}

export interface MortalAgent {
  readonly agent: HostAgent;
  /** What it has done to the disk, in order. */
  readonly deeds: readonly string[];
  readonly isDead: boolean;
  /** Ends it now, without a goodbye, and lets go of its files; nothing changes on the disk any more. */
  die(): Promise<void>;
}

export class Died extends Error {}

export interface MortalOptions {
  readonly death?: Death | undefined;
  /** Another boot of the machine. */
  readonly boot?: Buffer | undefined;
  /** Sees every batch on its way into the journal and says what goes in. */
  readonly journaled?: (records: readonly JournalRecord[]) => readonly JournalRecord[];
}

/**
 * A real agent over a real folder that ends at one point: that operation is not done, half done or
 * done, its answer never comes, and everything after it fails and changes nothing, timers included. It
 * is never closed: another agent on the same folder finds what a killed process leaves.
 */
export async function startMortalAgent(
  folder: string,
  means: EngineMeans,
  { death, boot, journaled = (records) => records }: MortalOptions = {},
): Promise<MortalAgent> {
  const deeds: string[] = [];
  const journals: AsyncDisposable[] = [];
  let dead = false;
  const fate = (name: string): 'live' | Death['when'] => {
    if (dead) return 'before';
    deeds.push(name);
    if (death === undefined || deeds.length - 1 !== death.at) return 'live';
    dead = true;
    return death.when;
  };
  const mortal = async <T>(name: string, run: () => Promise<T>): Promise<T> => {
    const now = fate(name);
    if (now === 'live') return run();
    if (now === 'after') await run();
    throw new Died(name);
  };
  const file = await openStore({ driver: 'file', name: 'default', path: join(folder, 'store') });
  const store = withFault(file, ({ name }) => {
    if (!isDeed(name)) return dead ? { when: 'before', error: new Died(name) } : undefined;
    const when = fate(`store.${name}`);
    return when === 'live' ? undefined : { when, error: new Died(name) };
  });
  const real = await openStateFolder(join(folder, 'agent'));
  const state: StateFolder = {
    boot: boot ?? real.boot,
    list: () => real.list(),
    save: (record) =>
      mortal(`state.save ${record.state}${record.sealed === null ? '' : ' with facts'}`, () => real.save(record)),
    remove: (id) => mortal('state.remove', () => real.remove(id)),
    writeLeaves: (...args) => mortal('state.writeLeaves', () => real.writeLeaves(...args)),
    readLeaves: (...args) => real.readLeaves(...args),
    removeLeaves: (...args) => mortal('state.removeLeaves', () => real.removeLeaves(...args)),
    journal: async (id) => {
      const journal = await real.journal(id);
      journals.push(journal);
      return {
        append: (records) => mortal('journal.append', () => journal.append(journaled(records))),
        sync: () => mortal('journal.sync', () => journal.sync()),
        records: () => journal.records(),
        [Symbol.asyncDispose]: () => journal[Symbol.asyncDispose](),
      };
    },
  };
  const starting = HostAgent.start({
    hostId: randomUUID(),
    name: 'mortal',
    bootId: 'boot',
    version: '0',
    dataUrls: () => [],
    stores: [{ storeId, name: 'default', store }],
    state,
    means,
    totalRate: null,
    now: () => new Date(),
    monotonic: () => performance.now(),
    log: { info: () => {}, warn: () => {} },
  });
  const agent = await starting.catch(async (error: unknown) => {
    for (const journal of journals) await journal[Symbol.asyncDispose]();
    throw error;
  });
  return {
    agent,
    deeds,
    get isDead() {
      return dead;
    },
    die: async () => {
      dead = true;
      await agent.close();
    },
  };
}

/** What changes the disk; looking at it is no point to die at. */
function isDeed(name: string): boolean {
  return ['create', 'write', 'zero', 'flush', 'resize', 'seal', 'discard', 'remove'].includes(name);
}

/** A request body of these bytes in pieces; broken off after so many, when said. */
export function bodyOf(bytes: Uint8Array, brokenAfter = bytes.length): ByteSource {
  return {
    async drain(take) {
      for (let at = 0; at < brokenAfter; at += 100_000)
        await take(bytes.subarray(at, Math.min(brokenAfter, at + 100_000)));
      if (brokenAfter < bytes.length) throw new Error('the connection broke');
    },
  };
}
