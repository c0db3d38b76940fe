import type { Range } from './range.ts';

/**
 * A thread that sends parts of files into connections: plain ones without their bytes passing through this program
 * (sendfile(2)). The engine decides what it may send; `native/` is where it lives.
 */
export interface Sender {
  /**
   * Begins to send. `events` are told in order; `ended` is the last and always comes. Both descriptors must
   * stay open until then, and nobody else may write to the socket, which must not block. Undefined when it cannot
   * begin (it was closed, its thread did not live); then no event comes.
   */
  begin(request: FileSend, events: SendEvents): Sending | undefined;

  /** As `lane` of a Mover. */
  lane?(place: string | undefined): Sender | undefined;
}

export interface FileSend {
  /** Descriptor of a connected stream socket. */
  readonly socket: number;
  /** Address of the TLS session that it is written through, which nobody else uses meanwhile (LentOutput). */
  readonly tls?: bigint | undefined;
  /** Descriptor of the file or block device, read by position. */
  readonly file: number;
  /** In the order in which they are sent. */
  readonly pieces: readonly SendPiece[];
  /** Milliseconds; a client that takes nothing for so long is `stalled`. */
  readonly patience: number;
}

export interface SendPiece extends Range {
  /** It reads as zeros, so the file is not looked at. */
  readonly zero: boolean;
}

export interface Sending {
  /** Ends as soon as the thread hears it. Repeatable. */
  recall(): void;
}

export interface SendEvents {
  /** So many bytes more are with the kernel; what `ended` tells is the sum. */
  sent(bytes: number): void;
  ended(how: SendEnd): void;
}

export type SendEnd =
  | {
      /**
       * `sent`: all of it. `returned`: it was recalled. `unsent`: the file did not give the next byte (it is shorter, it
       * failed, it cannot be sent like this): reading tells what is wrong. `stalled`, `gone`: the client.
       */
      readonly kind: 'sent' | 'returned' | 'unsent' | 'stalled' | 'gone';
      /** From the beginning, all told. */
      readonly bytes: number;
    }
  /** How much was sent is not known. */
  | { readonly kind: 'lost'; readonly cause: Error };
