import { createHash } from 'node:crypto';
import { HawserError } from '../../core/errors.ts';
import { Blkhash } from '../../engine/blkhash.ts';
import type { SlabPool } from '../../engine/slab-pool.ts';
import { DeviceTicket, restoredExpiry } from './ticket.ts';
import { TicketCounts } from './ticket-counts.ts';
import { TicketDevice, type TicketMeans } from './ticket-device.ts';
import type {
  DeviceContent,
  DeviceOpener,
  KeptTicket,
  Moment,
  PlaneContent,
  TicketClock,
  TicketFolder,
  TicketRecord,
  TicketSubject,
} from './ticket-ports.ts';

export interface HostTicketsParts {
  readonly clock: TicketClock;
  /** Undefined: nothing survives a restart. */
  readonly folder: TicketFolder | undefined;
  readonly openDevice: DeviceOpener;
  readonly means: TicketMeans;
  /** How long `remove` waits for operations, milliseconds; 0: not at all. */
  readonly removeMs: number;
  /** Told of what nobody waits for, as renewals that could not be kept. */
  readonly fault: (error: unknown) => void;
}

/** A right to an Upload or a Copy of this host, for our own data listener. */
export interface PlaneTicket {
  readonly kind: 'plane';
  readonly content: PlaneContent;
  expires: Moment;
  /** When its end was last kept. */
  keptAt: number;
}

/** Expired ones of foreign controls can be revived for so long; then they are forgotten. */
const FORGET_MS = 24 * 3600 * 1000;

/** Renewals of our own tickets are kept that often. */
const KEEP_EVERY_MS = 10_000;

/**
 * The table of tickets: the one place where they are checked, at every operation. The id is the secret, and use renews.
 * Two kinds live in it: our own for the data listener, and those to Devices that foreign controls install. All survive a
 * restart and a kill; what is kept and logged is a digest of the id.
 */
export class HostTickets {
  readonly #parts: HostTicketsParts;
  readonly #table = new Map<string, PlaneTicket | DeviceTicket>();
  /** Replaced while operations ran on them: they end with the one that replaced them. */
  readonly #replaced = new Map<string, Set<DeviceTicket>>();
  #refusal: HawserError | undefined;

  constructor(parts: HostTicketsParts) {
    this.#parts = parts;
  }

  /** Takes up what was there before a restart. Call it once, before anybody asks. */
  async recover(): Promise<void> {
    for (const kept of (await this.#parts.folder?.list()) ?? []) {
      const { name, content } = kept.record;
      const expires = restoredExpiry(kept, this.#parts.clock);
      if (content.kind === 'device') this.#table.set(name, this.#device(name, content, kept));
      else this.#table.set(name, { kind: 'plane', content, expires, keptAt: this.#now() });
    }
    await this.#sweep();
  }

  /** For a table without Devices that nobody keeps. */
  static inMemory(monotonic: () => number, slabs: SlabPool): HostTickets {
    return new HostTickets({
      clock: { monotonic, wall: () => 0, boot: '' },
      folder: undefined,
      openDevice: () => Promise.reject(new HawserError('unsupported', 'There are no tickets to Devices here.')),
      means: { slabs, blkhash: new Blkhash(1), counts: new TicketCounts() },
      removeMs: 0,
      fault: () => {},
    });
  }

  /** Another process has this host now: for good, every ticket is refused with `reason`, and what runs on one is ended. */
  refuse(reason: HawserError): void {
    this.#refusal = reason;
    for (const ticket of this.#everyDevice()) ticket.stop(reason).catch(this.#parts.fault);
  }

  // ---- our own

  /** Installs or replaces; it survives once this resolves. */
  async install(
    id: string,
    request: {
      readonly subject: TicketSubject;
      readonly ops: readonly ('read' | 'write')[];
      readonly timeoutMs: number;
    },
  ): Promise<void> {
    await this.#sweep();
    const name = nameOf(id);
    const content: PlaneContent = { kind: 'plane', ...request };
    const expires = this.#in(request.timeoutMs);
    this.#table.set(name, { kind: 'plane', content, expires, keptAt: this.#now() });
    await this.#save({ name, content, expires, canceled: false, ranges: [] });
  }

  async revoke(id: string): Promise<void> {
    const name = nameOf(id);
    if (this.#table.get(name) instanceof DeviceTicket) return;
    this.#table.delete(name);
    await this.#parts.folder?.remove(name);
  }

  /** The ticket, renewed. Throws `unauthenticated` when there is none, `forbidden` when it does not allow `op`. */
  use(id: string | undefined, op: 'read' | 'write'): { readonly subject: TicketSubject } {
    if (this.#refusal !== undefined) throw this.#refusal;
    const name = id === undefined ? '' : nameOf(id);
    const ticket = this.#table.get(name);
    if (ticket === undefined || ticket instanceof DeviceTicket || ticket.expires.monotonic < this.#now()) {
      throw new HawserError(
        'unauthenticated',
        'There is no such ticket, or it has expired. Ask the API for access again.',
      );
    }
    if (!ticket.content.ops.includes(op)) throw new HawserError('forbidden', `The ticket does not allow to ${op}.`);
    ticket.expires = this.#in(ticket.content.timeoutMs);
    this.#keepNowAndThen(name, ticket);
    return ticket.content;
  }

  // ---- to Devices

  /** Installs or replaces; it survives once this resolves. */
  async add(content: DeviceContent): Promise<void> {
    await this.#sweep();
    const name = nameOf(content.id);
    const before = this.#table.get(name);
    const ticket = this.#device(name, content);
    if (before instanceof DeviceTicket) this.#keepReplaced(name, before);
    this.#table.set(name, ticket);
    await this.#save(ticket.record());
  }

  /** For metrics. */
  get counts(): TicketCounts {
    return this.#parts.means.counts;
  }

  find(id: string): DeviceTicket | undefined {
    const ticket = this.#table.get(nameOf(id));
    return ticket instanceof DeviceTicket ? ticket : undefined;
  }

  /** What logs may call a ticket. */
  publicName(id: string): string {
    return nameOf(id).slice(0, 12);
  }

  list(): readonly DeviceTicket[] {
    return [...this.#table.values()].filter((ticket) => ticket instanceof DeviceTicket);
  }

  /**
   * The ticket, if it may be used for `op` now. Throws `not-found`, `cancelled`, `expired` and `forbidden`,
   * with `details.label`.
   */
  authorize(id: string, op: 'read' | 'write'): DeviceTicket {
    if (this.#refusal !== undefined) throw this.#refusal;
    const ticket = this.find(id);
    if (ticket === undefined) throw new HawserError('not-found', 'There is no such ticket.');
    const { label, read, write } = ticket.content;
    const details = { details: { label, op } };
    if (ticket.canceled) throw new HawserError('cancelled', 'The ticket was canceled.', details);
    if (ticket.expires.monotonic <= this.#now()) throw new HawserError('expired', 'The ticket has expired.', details);
    // Writing implies reading.
    if (!(write || (read && op === 'read'))) {
      throw new HawserError('forbidden', `The ticket does not allow to ${op}.`, details);
    }
    return ticket;
  }

  /** The Device of a ticket that was authorized, for one connection; `ticket.leave` when it is gone. */
  async open(ticket: DeviceTicket, connection: object): Promise<TicketDevice> {
    return new TicketDevice(ticket, await ticket.join(connection), this.#parts.means);
  }

  /**
   * Cancels and removes. Where operations still run after the time that may be waited, the ticket stays, canceled,
   * and the call can be repeated: `busy`, or `leaving` when nothing may be waited. Removing what is not there succeeds.
   */
  async remove(id: string): Promise<'removed' | 'leaving' | 'busy'> {
    const name = nameOf(id);
    const ticket = this.find(id);
    if (ticket === undefined) return 'removed';
    const all = [ticket, ...(this.#replaced.get(name) ?? [])];
    const ended = Promise.all(all.map((one) => one.cancel()));
    await this.#save(ticket.record());
    if (!(await within(ended, this.#parts.removeMs))) return this.#parts.removeMs === 0 ? 'leaving' : 'busy';
    if (this.#table.get(name) === ticket) await this.#forget(name);
    return 'removed';
  }

  /** Forgets all that are to Devices. Operations that run go on. */
  async clear(): Promise<void> {
    for (const [name, ticket] of this.#table) if (ticket instanceof DeviceTicket) await this.#forget(name);
  }

  /** Ends what runs; the tickets stay for the next start. */
  async close(): Promise<void> {
    const reason = new HawserError('unavailable', 'Hawser is stopping. Try again when it runs.');
    this.#refusal ??= reason;
    await Promise.all(this.#everyDevice().map((ticket) => ticket.stop(reason)));
    await this.#parts.folder?.close();
  }

  #everyDevice(): readonly DeviceTicket[] {
    return [...this.list(), ...[...this.#replaced.values()].flatMap((some) => [...some])];
  }

  #device(name: string, content: DeviceContent, kept?: KeptTicket): DeviceTicket {
    const { clock, openDevice, folder, fault } = this.#parts;
    return new DeviceTicket(
      {
        name,
        clock,
        openDevice,
        note: async (notes) => {
          if (this.#isCurrent(name, content)) await folder?.note(name, notes);
        },
        save: async (record) => {
          if (this.#isCurrent(name, content)) await folder?.save(record);
        },
        fault,
      },
      content,
      kept,
    );
  }

  /** What an older one of the name still does is not noted as if the newer one had done it. */
  #isCurrent(name: string, content: DeviceContent): boolean {
    const current = this.#table.get(name);
    return current instanceof DeviceTicket && current.content === content;
  }

  #keepReplaced(name: string, ticket: DeviceTicket): void {
    // Nobody asks it any more: what it has open can go.
    if (!ticket.active) return void ticket.release().catch(this.#parts.fault);
    const some = this.#replaced.get(name) ?? new Set();
    for (const one of some) if (!one.active) some.delete(one);
    this.#replaced.set(name, some.add(ticket));
  }

  #keepNowAndThen(name: string, ticket: PlaneTicket): void {
    if (this.#now() - ticket.keptAt < KEEP_EVERY_MS) return;
    ticket.keptAt = this.#now();
    const kept = this.#parts.folder?.note(name, [{ kind: 'renewed', expires: ticket.expires }]);
    kept?.catch(this.#parts.fault);
  }

  async #save(record: Omit<TicketRecord, 'boot'>): Promise<void> {
    await this.#parts.folder?.save({ ...record, boot: this.#parts.clock.boot });
  }

  async #forget(name: string): Promise<void> {
    this.#table.delete(name);
    this.#replaced.delete(name);
    await this.#parts.folder?.remove(name);
  }

  async #sweep(): Promise<void> {
    const now = this.#now();
    for (const [name, ticket] of this.#table) {
      const over = ticket instanceof DeviceTicket ? ticket.expires.monotonic + FORGET_MS : ticket.expires.monotonic;
      if (over < now && !(ticket instanceof DeviceTicket && ticket.active)) await this.#forget(name);
    }
  }

  #now(): number {
    return this.#parts.clock.monotonic();
  }

  #in(ms: number): Moment {
    return { monotonic: this.#now() + ms, wall: this.#parts.clock.wall() + ms };
  }
}

/** What the table and the folder call a ticket. */
function nameOf(id: string): string {
  return createHash('sha256').update(id).digest('hex');
}

async function within(promise: Promise<unknown>, ms: number): Promise<boolean> {
  const timer = Promise.withResolvers<boolean>();
  const timeout = setTimeout(() => timer.resolve(false), ms);
  try {
    return await Promise.race([promise.then(() => true), timer.promise]);
  } finally {
    clearTimeout(timeout);
  }
}
