import type { ImageFormat } from '../../core/formats.ts';
import type { Range } from '../../core/range.ts';
import type { Device } from '../../stores/device.ts';

/** Two clocks: one that nobody sets, and the one on the wall, which alone survives a reboot. */
export interface TicketClock {
  /** Milliseconds of CLOCK_MONOTONIC: comparable among all processes of one boot. */
  monotonic(): number;
  /** Milliseconds since 1970. */
  wall(): number;
  /** Which boot `monotonic` belongs to. */
  readonly boot: string;
}

/** A moment on both clocks. */
export interface Moment {
  readonly monotonic: number;
  readonly wall: number;
}

/** Opens what a ticket's URL names. Throws `forbidden`, `not-found`, `unsupported`, `unavailable`. */
export type DeviceOpener = (request: DeviceRequest) => Promise<OpenedDevice>;

export interface DeviceRequest {
  /** As the ticket has it: `file:///…`, `nbd:unix:/…`, `nbd:host:port`, `nbd://…`. */
  readonly url: string;
  readonly writable: boolean;
  /** What is zeroed gives its space back. */
  readonly sparse: boolean;
  /** Ask for what changed. */
  readonly dirty: boolean;
  /** Name of the dirty bitmap that tells it; an NBD server may have just one. */
  readonly bitmap?: string | undefined;
  /** What the file is; undefined: its bytes as they are. */
  readonly format?: ImageFormat | undefined;
  /** Whether an image may stand on other files. */
  readonly backingChain: boolean;
  /** Bytes; a regular file may grow up to it. */
  readonly size: number;
}

/** Disposing closes the Device and what it stands on. */
export interface OpenedDevice extends AsyncDisposable {
  readonly device: Device;
  /** A regular file, whose writers the original serves one by one. */
  readonly kind: 'file' | 'block' | 'nbd';
  /** Changes whenever the bytes may have changed; undefined where nobody can tell. */
  readonly fingerprint: () => Promise<string | undefined>;
}

/** The agent's folder of tickets. What resolves survives kill -9; `save` survives a power cut. */
export interface TicketFolder {
  list(): Promise<readonly KeptTicket[]>;
  /** Writes the record whole, with nothing noted yet. */
  save(record: TicketRecord): Promise<void>;
  /** Adds to what is noted about it. */
  note(name: string, notes: readonly TicketNote[]): Promise<void>;
  remove(name: string): Promise<void>;
  close(): Promise<void>;
}

/** `name` is SHA-256 of the ticket's id, hex: what stands in file names and logs tells nobody the id. */
export interface TicketRecord {
  readonly name: string;
  readonly boot: string;
  readonly expires: Moment;
  readonly content: TicketContent;
  readonly canceled: boolean;
  /** What was transferred when it was written. */
  readonly ranges: readonly Range[];
}

export type TicketContent = PlaneContent | DeviceContent;

/** A right to an Upload or a Copy of this host. */
export interface PlaneContent {
  readonly kind: 'plane';
  readonly subject: TicketSubject;
  readonly ops: readonly ('read' | 'write')[];
  readonly timeoutMs: number;
}

export type TicketSubject =
  | { readonly kind: 'upload'; readonly uploadId: string }
  | {
      readonly kind: 'copy';
      readonly storeId: string;
      readonly key: string;
      readonly filename?: string | undefined;
      readonly fingerprint?: string | null | undefined;
    };

/** A right to a Device, as a foreign control installed it. */
export interface DeviceContent {
  readonly kind: 'device';
  readonly id: string;
  /** What logs and messages call it. */
  readonly label: string;
  /** Bytes from 0 that may be used; clamped to what a number holds. */
  readonly size: number;
  readonly url: string;
  readonly read: boolean;
  readonly write: boolean;
  readonly sparse: boolean;
  readonly dirty: boolean;
  readonly bitmap?: string | undefined;
  readonly format?: ImageFormat | undefined;
  readonly backingChain: boolean;
  readonly filename?: string | undefined;
  readonly timeoutMs: number;
  /** A client that moves nothing for so long is given up. */
  readonly inactivityMs: number;
  /** The door's own words, given back as they came. */
  readonly document: string;
}

export type TicketNote =
  /** These bytes were moved, and the ticket was renewed. */
  | { readonly kind: 'moved'; readonly range: Range; readonly expires: Moment }
  | { readonly kind: 'renewed'; readonly expires: Moment }
  /** The first `through` notes since the record was written are of bytes that survive a power cut. */
  | { readonly kind: 'flushed'; readonly through: number; readonly expires: Moment };

export interface KeptTicket {
  readonly record: TicketRecord;
  readonly notes: readonly TicketNote[];
}
