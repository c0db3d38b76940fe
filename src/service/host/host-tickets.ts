import { HawserError } from '../../core/errors.ts';

export type TicketSubject =
  | { readonly kind: 'upload'; readonly uploadId: string }
  | { readonly kind: 'copy'; readonly storeId: string; readonly key: string; readonly filename?: string | undefined };

export interface Ticket {
  readonly subject: TicketSubject;
  readonly ops: readonly ('read' | 'write')[];
  readonly timeoutMs: number;
  expiresAt: number;
}

/**
 * The table of tickets: the one place where they are checked, at every operation. The id is the secret.
 * Use renews a ticket; an agent that was restarted knows none, and clients ask control for a new one.
 */
export class HostTickets {
  readonly #now: () => number;
  readonly #tickets = new Map<string, Ticket>();

  /** `now` in milliseconds, monotonic: a changed wall clock neither ends nor revives a ticket. */
  constructor(now: () => number) {
    this.#now = now;
  }

  /** Installs or replaces. */
  install(id: string, ticket: Omit<Ticket, 'expiresAt'>): Ticket {
    this.#sweep();
    const installed = { ...ticket, expiresAt: this.#now() + ticket.timeoutMs };
    this.#tickets.set(id, installed);
    return installed;
  }

  revoke(id: string): void {
    this.#tickets.delete(id);
  }

  /** The ticket, renewed. Throws `unauthenticated` when there is none, `forbidden` when it does not allow `op`. */
  use(id: string | undefined, op: 'read' | 'write'): Ticket {
    const ticket = id === undefined ? undefined : this.#tickets.get(id);
    if (ticket === undefined || ticket.expiresAt < this.#now()) {
      throw new HawserError(
        'unauthenticated',
        'There is no such ticket, or it has expired. Ask the API for access again.',
      );
    }
    if (!ticket.ops.includes(op)) throw new HawserError('forbidden', `The ticket does not allow to ${op}.`);
    ticket.expiresAt = this.#now() + ticket.timeoutMs;
    return ticket;
  }

  #sweep(): void {
    for (const [id, ticket] of this.#tickets) if (ticket.expiresAt < this.#now()) this.#tickets.delete(id);
  }
}
