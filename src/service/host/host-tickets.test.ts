import { randomUUID } from 'node:crypto';
import { appendFile, mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { array, asyncProperty, assert as check, constantFrom, nat, record } from 'fast-check';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { ByteSource } from '../../core/bytes.ts';
import { isHawserError } from '../../core/errors.ts';
import { Blkhash } from '../../engine/blkhash.ts';
import { SlabPool } from '../../engine/slab-pool.ts';
import { openTicketFolder } from '../../host/ticket-folder.ts';
import { HostTickets } from './host-tickets.ts';
import { MemoryDevice } from './testing/memory-device.ts';
import { TicketCounts } from './ticket-counts.ts';
import type { TicketDevice } from './ticket-device.ts';
import type { DeviceContent } from './ticket-ports.ts';

const SIZE = 100_000;
let folder: string;
let time: { monotonic: number; wall: number; boot: string };
let device: MemoryDevice;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'hawser-tickets-'));
  time = { monotonic: 1_000_000, wall: 1_700_000_000_000, boot: 'one' };
  device = new MemoryDevice(SIZE);
});
const opened: AsyncDisposableStack[] = [];
afterEach(async () => {
  for (const stack of opened.splice(0)) await stack.disposeAsync();
  await rm(folder, { recursive: true, force: true });
});

/** A table as a process has it that starts now. */
async function start(removeMs = 1000): Promise<HostTickets> {
  const { boot } = time;
  const kept = await openTicketFolder(join(folder, 'tickets'), randomUUID);
  const stack = new AsyncDisposableStack();
  opened.push(stack);
  stack.defer(() => kept.close());
  const tickets = new HostTickets({
    clock: { monotonic: () => time.monotonic, wall: () => time.wall, boot },
    folder: kept,
    openDevice: async () => device.opened(),
    means: { slabs: new SlabPool(4), blkhash: new Blkhash(1), counts: new TicketCounts() },
    removeMs,
    fault: (error) => {
      throw error;
    },
  });
  await tickets.recover();
  return tickets;
}

const content = (values: Partial<DeviceContent> = {}): DeviceContent => ({
  kind: 'device',
  id: 'ticket',
  label: 'T',
  size: SIZE,
  url: 'file:///x',
  read: true,
  write: true,
  sparse: false,
  dirty: false,
  backingChain: false,
  timeoutMs: 300_000,
  inactivityMs: 60_000,
  document: '{"ops": ["write"]}',
  ...values,
});

const pass = (ms: number) => {
  time.monotonic += ms;
  time.wall += ms;
};

const sourceOf = (bytes: Buffer): ByteSource => ({
  async drain(take) {
    await take(bytes);
  },
});

async function open(tickets: HostTickets, id = 'ticket'): Promise<TicketDevice> {
  return tickets.open(tickets.authorize(id, 'write'), {});
}
const write = async (tickets: HostTickets, offset: number, length: number, flush = false) =>
  (await open(tickets)).receive({ range: { offset, length }, flush, source: sourceOf(Buffer.alloc(length, 'w')) });
const transferred = (tickets: HostTickets) => tickets.find('ticket')?.progress().transferred;
const code = (wanted: string) => expect.toSatisfy((error: unknown) => isHawserError(error) && error.code === wanted);

test('property: transferred is the union of what was moved, also after a kill at any moment', async () => {
  const step = record({ kind: constantFrom('write', 'zero', 'restart'), offset: nat(2000), length: nat(500) });
  await check(
    asyncProperty(array(step, { maxLength: 25 }), async (steps) => {
      for (const stack of opened.splice(0)) await stack.disposeAsync();
      let tickets = await start();
      await tickets.add(content({ id: 'ticket' }));
      const bytes = new Uint8Array(SIZE);
      for (const { kind, offset, length } of steps) {
        // No goodbye: what was promised is in the files already.
        if (kind === 'restart') tickets = await start();
        else {
          if (kind === 'write') await write(tickets, offset, length);
          else await (await open(tickets)).zero({ offset, length }, false);
          bytes.fill(1, offset, offset + length);
        }
        expect(transferred(tickets)).toBe(bytes.reduce((sum, byte) => sum + byte, 0));
      }
    }),
    { numRuns: 30 },
  );
});

describe('over a restart', () => {
  test('a ticket is as it was, and its end too, by the clock that nobody sets', async () => {
    const before = await start();
    await before.add(content());
    await write(before, 10, 100);
    pass(200_000);
    time.wall += 1e9; // somebody set the clock
    const after = await start();
    expect(after.find('ticket')?.content).toEqual(content());
    expect(transferred(after)).toBe(100);
    pass(99_000);
    expect(() => after.authorize('ticket', 'write')).not.toThrow();
    pass(2_000);
    expect(() => after.authorize('ticket', 'write')).toThrow(code('expired'));
    await after.find('ticket')?.extend(10_000);
    expect(() => after.authorize('ticket', 'write')).not.toThrow();
    const third = await start();
    pass(9_000);
    expect(() => third.authorize('ticket', 'write')).not.toThrow();
  });

  test('use has renewed it', async () => {
    const before = await start();
    await before.add(content());
    for (let i = 0; i < 5; i++) {
      pass(200_000);
      await write(before, 0, 10);
    }
    const after = await start();
    pass(290_000);
    expect(() => after.authorize('ticket', 'write')).not.toThrow();
  });

  test('of the machine, the wall clock tells the end, and only what was flushed counts', async () => {
    const before = await start();
    await before.add(content());
    await write(before, 0, 100);
    await (await open(before)).flush();
    await write(before, 1000, 100);
    await write(before, 5000, 50, true);
    await write(before, 9000, 70);
    time = { monotonic: 5, wall: time.wall + 100_000, boot: 'two' };
    const after = await start();
    expect(transferred(after)).toBe(200);
    pass(190_000);
    expect(() => after.authorize('ticket', 'write')).not.toThrow();
    pass(20_000);
    expect(() => after.authorize('ticket', 'write')).toThrow(code('expired'));
  });

  test('a canceled one stays canceled, a removed one is gone', async () => {
    const before = await start(0);
    await before.add(content());
    await before.add(content({ id: 'other' }));
    await before.remove('other');
    const hold = Promise.withResolvers<void>();
    device.held = hold.promise;
    const writing = write(before, 0, 10);
    await Promise.resolve();
    while (before.find('ticket')?.active !== true) await new Promise((resolve) => setImmediate(resolve));
    expect(await before.remove('ticket')).toBe('leaving');
    const after = await start();
    expect(() => after.authorize('ticket', 'write')).toThrow(code('cancelled'));
    expect(() => after.authorize('other', 'write')).toThrow(code('not-found'));
    hold.resolve();
    await expect(writing).rejects.toThrow(code('cancelled'));
  });

  test('our own survive, and their renewals', async () => {
    const subject = { kind: 'upload', uploadId: randomUUID() } as const;
    const before = await start();
    await before.install('secret-of-our-own', { subject, ops: ['read'], timeoutMs: 60_000 });
    pass(50_000);
    before.use('secret-of-our-own', 'read');
    await before.close();
    pass(50_000);
    const after = await start();
    expect(after.use('secret-of-our-own', 'read').subject).toEqual(subject);
    expect(() => after.use('secret-of-our-own', 'write')).toThrow(code('forbidden'));
    expect(() => after.authorize('secret-of-our-own', 'read')).toThrow(code('not-found'));
    await after.revoke('secret-of-our-own');
    expect(() => after.use('secret-of-our-own', 'read')).toThrow(code('unauthenticated'));
    const third = await start();
    expect(() => third.use('secret-of-our-own', 'read')).toThrow(code('unauthenticated'));
  });

  test('the id of our own is in no file', async () => {
    const tickets = await start();
    const subject = { kind: 'copy', storeId: randomUUID(), key: 'k' } as const;
    await tickets.install('secret-of-our-own', { subject, ops: ['read'], timeoutMs: 60_000 });
    for (const name of await readdir(join(folder, 'tickets'))) {
      expect(name + (await readFile(join(folder, 'tickets', name), 'utf8'))).not.toContain('secret-of-our-own');
    }
  });

  test('a note cut in the middle is none, and those after it count', async () => {
    const before = await start();
    await before.add(content());
    await write(before, 0, 100);
    const name = (await readdir(join(folder, 'tickets'))).find((file) => file.endsWith('.notes'));
    await appendFile(join(folder, 'tickets', name ?? ''), '{"kind":"moved","range":{"off');
    const after = await start();
    expect(transferred(after)).toBe(100);
    await write(after, 200, 50);
    expect(transferred(await start())).toBe(150);
  });

  test('what nobody knows any more leaves no file', async () => {
    const tickets = await start();
    for (let i = 0; i < 10; i++) {
      await tickets.add(content({ id: `t${i}` }));
      await tickets.add(content({ id: `t${i}` }));
    }
    await tickets.clear();
    await tickets.add(content());
    expect((await readdir(join(folder, 'tickets'))).length).toBe(1);
    pass(300_000 + 25 * 3600 * 1000);
    await tickets.add(content({ id: 'new' }));
    expect(tickets.find('ticket')).toBeUndefined();
    expect((await readdir(join(folder, 'tickets'))).length).toBe(1);
  });
});

describe('removing', () => {
  test('waits for what runs, so long and no longer; then it can be asked again', async () => {
    const tickets = await start(20);
    await tickets.add(content());
    const hold = Promise.withResolvers<void>();
    device.held = hold.promise;
    const writing = write(tickets, 0, 10);
    while (tickets.find('ticket')?.active !== true) await new Promise((resolve) => setImmediate(resolve));
    expect(await tickets.remove('ticket')).toBe('busy');
    expect(() => tickets.authorize('ticket', 'read')).toThrow(code('cancelled'));
    expect(tickets.find('ticket')?.progress()).toMatchObject({ active: true, canceled: true });
    const again = tickets.remove('ticket');
    hold.resolve();
    await expect(writing).rejects.toThrow(code('cancelled'));
    expect(await again).toBe('removed');
    expect(device.closed).toBe(true);
    expect(device.bytes.equals(Buffer.alloc(SIZE))).toBe(true);
  });
});

describe('the Device of a ticket', () => {
  test('is closed when the last connection has left, and opened anew for the next', async () => {
    const tickets = await start();
    await tickets.add(content());
    const ticket = tickets.authorize('ticket', 'read');
    const [one, two] = [{}, {}];
    await tickets.open(ticket, one);
    await tickets.open(ticket, two);
    expect(ticket.progress().connections).toBe(2);
    await ticket.leave(one);
    expect(device.closed).toBe(false);
    await ticket.leave(two);
    expect(device.closed).toBe(true);
    device = new MemoryDevice(SIZE);
    await tickets.open(ticket, one);
    expect(device.closed).toBe(false);
    await tickets.close();
    expect(device.closed).toBe(true);
  });

  test('after the host was taken over nothing is allowed', async () => {
    const tickets = await start();
    await tickets.add(content());
    const { HawserError } = await import('../../core/errors.ts');
    tickets.refuse(new HawserError('fenced', 'Another process has this host.'));
    expect(() => tickets.authorize('ticket', 'read')).toThrow(code('fenced'));
    expect(() => tickets.use('x', 'read')).toThrow(code('fenced'));
  });
});

test.each([
  [true, true, ['read', 'write']],
  [true, false, ['read']],
  [false, true, ['read', 'write']],
  [false, false, []],
])('with read %s and write %s it may %j', async (read, write, may) => {
  const tickets = await start();
  await tickets.add(content({ read, write }));
  for (const op of ['read', 'write'] as const) {
    if (may.includes(op)) expect(tickets.authorize('ticket', op).content.id).toBe('ticket');
    else expect(() => tickets.authorize('ticket', op)).toThrow(code('forbidden'));
  }
});
