import { randomUUID } from 'node:crypto';
import { configSchema } from '../src/config/schema.ts';
import type { Actor } from '../src/core/nouns.ts';
import type { OpenDatabase } from '../src/db/open.ts';
import { type Control, type ControlOptions, createControl } from '../src/service/control/control.ts';
import type { Log, Waker } from '../src/service/control/ports.ts';
import type { PlainAgent } from './plain-agent.ts';

export const alice: Actor = { user: 'alice', role: 'user' };
export const bob: Actor = { user: 'bob', role: 'user' };
export const admin: Actor = { user: 'admin', role: 'admin' };

/** A control over a real database and plain agents; its clock goes on only when a test says so. */
export interface TestControl extends AsyncDisposable {
  readonly control: Control;
  /** Moves control's clock (the database's stays). */
  later(seconds: number): void;
  /** Everything logged. */
  readonly lines: Readonly<Record<string, unknown>>[];
}

interface MoreSettings {
  readonly limits?: Readonly<Record<string, unknown>>;
  readonly copies?: Readonly<Record<string, unknown>>;
  /** As createControl has it. */
  readonly urlRefusal?: ControlOptions['urlRefusal'];
  readonly joining?: ControlOptions['joining'];
}

export async function testControl(
  open: OpenDatabase,
  agents: readonly PlainAgent[],
  uploads: Readonly<Record<string, unknown>> = {},
  { limits = {}, copies = {}, urlRefusal, joining }: MoreSettings = {},
): Promise<TestControl> {
  let offset = 0;
  const lines: Record<string, unknown>[] = [];
  const note = (fields: Readonly<Record<string, unknown>>) => void lines.push({ ...fields });
  const log: Log = { info: note, warn: note, error: note };
  const waker: Waker = { start: async () => {}, soon: async () => {}, stop: async () => {} };
  const control = createControl({
    db: open.db,
    waker,
    config: configSchema.parse({ uploads, limits, copies }),
    randomId: randomUUID,
    urlRefusal,
    joining,
    now: () => new Date(Date.now() + offset),
    log,
  });
  const ending = new AbortController();
  const attached = agents.map((agent) => control.attach(agent, ending.signal));
  if (agents.length > 0) {
    await control.firstAgent;
    await until(
      async () => (await control.stores.list(admin)).length >= agents.reduce((sum, one) => sum + one.stores.length, 0),
    );
  }
  return {
    control,
    lines,
    later: (seconds) => {
      offset += seconds * 1000;
    },
    [Symbol.asyncDispose]: async () => {
      ending.abort();
      await Promise.all(attached);
      await control.stop();
    },
  };
}

/** Asks until it is so; the test's own time limit is the only one. */
export async function until(isSo: () => boolean | Promise<boolean>): Promise<void> {
  while (!(await isSo())) await new Promise((resolve) => setTimeout(resolve, 3));
}
