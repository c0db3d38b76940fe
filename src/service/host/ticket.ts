import { HawserError } from '../../core/errors.ts';
import { type Range, RangeSet } from '../../core/range.ts';
import { Operation } from './ticket-operation.ts';
import type {
  DeviceContent,
  DeviceOpener,
  KeptTicket,
  Moment,
  OpenedDevice,
  TicketClock,
  TicketNote,
  TicketRecord,
} from './ticket-ports.ts';

/** How often what a long operation has moved so far is noted. */
const NOTE_MS = 2000;

/** Separate ranges that one ticket remembers. What would be one more is moved, but does not count as progress. */
const MOST_RANGES = 1_000_000;

/** Then the record is written anew, with all of them in it. */
const MOST_NOTES = 65_536;

export interface DeviceTicketParts {
  readonly name: string;
  readonly clock: TicketClock;
  readonly openDevice: DeviceOpener;
  /** Keeps notes over a kill; may be called while an earlier call is under way. */
  readonly note: (notes: readonly TicketNote[]) => Promise<void>;
  /** Writes the record whole; what was noted before is in it. */
  readonly save: (record: TicketRecord) => Promise<void>;
  /** Notes that nobody waits for. */
  readonly fault: (error: unknown) => void;
}

/** What the ticket has come to. */
export interface TicketProgress {
  readonly active: boolean;
  readonly canceled: boolean;
  /** That opened its Device and are still there. */
  readonly connections: number;
  readonly expires: Moment;
  /** 0 while active. */
  readonly idleMs: number;
  /** Union of what was moved, by operations that run too. */
  readonly transferred: number;
}

/** A ticket to a Device: who uses it now, until when, and what was moved. HostTickets hands it out; operations ask it again. */
export class DeviceTicket {
  readonly content: DeviceContent;
  readonly #parts: DeviceTicketParts;
  readonly #completed: RangeSet;
  readonly #running = new Set<Operation>();
  readonly #connections = new Set<object>();
  #expires: Moment;
  #accessed: number;
  #canceled: boolean;
  #notes = 0;
  #notedAt: number;
  /** Counts the records written, which each begin with no notes. */
  #edition = 0;
  #opened: Promise<OpenedDevice> | undefined;
  #closing: Promise<void> = Promise.resolve();
  #unused = Promise.withResolvers<void>();

  constructor(parts: DeviceTicketParts, content: DeviceContent, kept?: KeptTicket) {
    this.#parts = parts;
    this.content = content;
    this.#accessed = parts.clock.monotonic();
    this.#notedAt = this.#accessed;
    this.#expires = kept === undefined ? this.#in(content.timeoutMs) : restoredExpiry(kept, parts.clock);
    this.#canceled = kept?.record.canceled ?? false;
    this.#completed = kept === undefined ? new RangeSet() : restoredRanges(kept, parts.clock.boot);
    this.#notes = kept?.notes.length ?? 0;
  }

  get canceled(): boolean {
    return this.#canceled;
  }

  get expires(): Moment {
    return this.#expires;
  }

  get active(): boolean {
    return this.#running.size > 0;
  }

  /** As it is to be written whole. */
  record(): TicketRecord {
    return {
      name: this.#parts.name,
      boot: this.#parts.clock.boot,
      expires: this.#expires,
      content: this.content,
      canceled: this.#canceled,
      ranges: [...this.#completed],
    };
  }

  progress(): TicketProgress {
    const transferred = RangeSet.of(this.#completed);
    for (const operation of this.#running) transferred.add(operation.done);
    return {
      active: this.active,
      canceled: this.#canceled,
      connections: this.#connections.size,
      expires: this.#expires,
      idleMs: this.active ? 0 : this.#parts.clock.monotonic() - this.#accessed,
      transferred: this.#running.size === 0 ? this.#completed.bytes : transferred.bytes,
    };
  }

  /** It has been used. */
  touch(): void {
    this.#accessed = this.#parts.clock.monotonic();
    this.#expires = this.#in(this.content.timeoutMs);
    if (this.#accessed - this.#notedAt > NOTE_MS) this.#noteLater([{ kind: 'renewed', expires: this.#expires }]);
  }

  /** Ends so much from now; that of an expired one too. */
  async extend(timeoutMs: number): Promise<void> {
    this.#expires = this.#in(timeoutMs);
    await this.#note([{ kind: 'renewed', expires: this.#expires }]);
  }

  /** The Device, opened when it is not; it stays open until the last connection has left. Throws what opening throws. */
  async join(connection: object): Promise<OpenedDevice> {
    this.#mustLive();
    this.#connections.add(connection);
    await this.#closing;
    this.#mustLive();
    const opening = this.#opened ?? this.#parts.openDevice({ ...this.content, writable: this.content.write });
    this.#opened = opening;
    try {
      return await opening;
    } catch (error) {
      if (this.#opened === opening) this.#opened = undefined;
      this.#connections.delete(connection);
      throw error;
    }
  }

  /** The connection is gone, or will not come back. */
  async leave(connection: object): Promise<void> {
    this.#connections.delete(connection);
    await this.#closeUnused();
  }

  /**
   * Runs `work` as an operation of this ticket. Refused and ended with `cancelled` when the ticket is. What
   * was moved counts and is noted before this resolves, and also when the work fails.
   */
  async run<T>(range: Range, work: (operation: Operation) => Promise<T>): Promise<T> {
    this.#mustLive();
    const operation = new Operation(range, () => this.#movedSome(operation));
    this.#running.add(operation);
    try {
      const result = await work(operation);
      this.#mustLive();
      return result;
    } catch (error) {
      throw this.#canceled ? this.#refusal() : error;
    } finally {
      await this.#finish(operation);
    }
  }

  /** What is noted by now is safe once the flush that is about to begin has succeeded: call what this gives you then. */
  flushing(): () => Promise<void> {
    const [through, edition] = [this.#notes, this.#edition];
    return async () => {
      if (edition === this.#edition) await this.#note([{ kind: 'flushed', through, expires: this.#expires }]);
    };
  }

  /** Nothing begins any more and what runs is ended at once. Resolves when it has ended and the Device is closed. */
  async cancel(): Promise<void> {
    this.#canceled = true;
    for (const operation of this.#running) operation.abort(this.#refusal());
    await this.#ended();
  }

  /** Ends what runs, as when Hawser stops; the ticket itself stays. */
  async stop(reason: HawserError): Promise<void> {
    for (const operation of this.#running) operation.abort(reason);
    await this.#ended();
  }

  /** Closes the Device, as no connection will ask for it any more. */
  async release(): Promise<void> {
    await this.#ended();
  }

  async #ended(): Promise<void> {
    if (this.active) await this.#unused.promise;
    this.#connections.clear();
    await this.#closeUnused();
  }

  async #finish(operation: Operation): Promise<void> {
    const { done } = operation;
    if (this.#completed.count < MOST_RANGES || touches(this.#completed, done)) this.#completed.add(done);
    this.#running.delete(operation);
    this.touch();
    if (!this.active) {
      this.#unused.resolve();
      this.#unused = Promise.withResolvers<void>();
      await this.#closeUnused();
    }
    await this.#note([{ kind: 'moved', range: done, expires: this.#expires }]);
  }

  /** An operation may take hours: over a kill it counts with what it had moved. */
  #movedSome(operation: Operation): void {
    const now = this.#parts.clock.monotonic();
    if (now - this.#notedAt < NOTE_MS) return;
    this.#noteLater([{ kind: 'moved', range: operation.done, expires: this.#in(this.content.timeoutMs) }]);
  }

  async #note(notes: readonly TicketNote[]): Promise<void> {
    this.#notedAt = this.#parts.clock.monotonic();
    this.#notes += notes.length;
    if (this.#notes <= MOST_NOTES) return this.#parts.note(notes);
    this.#notes = 0;
    this.#edition++;
    await this.#parts.save(this.record());
  }

  #noteLater(notes: readonly TicketNote[]): void {
    this.#note(notes).catch(this.#parts.fault);
  }

  #closeUnused(): Promise<void> {
    const opened = this.#opened;
    if (this.#connections.size > 0 || this.active || opened === undefined) return this.#closing;
    this.#opened = undefined;
    this.#closing = opened.then((device) => device[Symbol.asyncDispose]());
    return this.#closing;
  }

  #in(ms: number): Moment {
    const { clock } = this.#parts;
    return { monotonic: clock.monotonic() + ms, wall: clock.wall() + ms };
  }

  #mustLive(): void {
    if (this.#canceled) throw this.#refusal();
  }

  #refusal(): HawserError {
    return new HawserError('cancelled', `Transfer ${this.content.label} was canceled`, {
      details: { label: this.content.label },
    });
  }
}

/** On the boot that it was written on by the clock that nobody sets, else by the wall. */
export function restoredExpiry({ record, notes }: KeptTicket, clock: TicketClock): Moment {
  const { monotonic, wall } = notes.at(-1)?.expires ?? record.expires;
  const left = record.boot === clock.boot ? monotonic - clock.monotonic() : wall - clock.wall();
  return { monotonic: clock.monotonic() + left, wall: clock.wall() + left };
}

/** What was moved by writing and not flushed may be gone after a reboot; then it does not count. */
function restoredRanges({ record, notes }: KeptTicket, boot: string): RangeSet {
  const lasting = record.boot === boot || record.content.kind !== 'device' || !record.content.write;
  const flushed = notes.filter((note) => note.kind === 'flushed').map(({ through }) => through);
  const through = lasting ? notes.length : Math.max(0, ...flushed);
  // A flush is of everything before it, and so of what the record had.
  const ranges = RangeSet.of(lasting || flushed.length > 0 ? record.ranges : []);
  for (const note of notes.slice(0, through)) if (note.kind === 'moved') ranges.add(note.range);
  return ranges;
}

/** Whether adding the range leaves no more separate ones than there are. */
function touches(ranges: RangeSet, { offset, length }: Range): boolean {
  const from = Math.max(0, offset - 1);
  return ranges.inside({ offset: from, length: offset + length + 1 - from }).next().done !== true;
}
