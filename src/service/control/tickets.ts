import type { AgentRequest } from '../../contract/link.ts';
import { HawserError, isHawserError } from '../../core/errors.ts';
import type { Context } from './context.ts';
import type { Access } from './use-cases.ts';

export type TicketSubject = AgentRequest<'installTicket'>['subject'];

const LIFETIME_SECONDS = 3600;
/** A ticket of our own is not used any more when less than this is left of it. */
const MARGIN_MS = 600_000;

/** Installs tickets on agents and revokes those that this process installed; others end by themselves. */
export class Tickets {
  readonly #context: Context;
  readonly #installed = new Map<string, { readonly ticketId: string; readonly until: number }[]>();
  readonly #own = new Map<string, { readonly hostId: string; readonly access: Promise<Access> }>();

  constructor(context: Context) {
    this.#context = context;
    // It may have moved, or have been restarted.
    context.changes.watch((kind, id) => {
      if (kind !== 'host') return;
      for (const [key, { hostId }] of this.#own) if (hostId === id) this.#own.delete(key);
    });
  }

  async install(hostId: string, subject: TicketSubject, ops: ('read' | 'write')[]): Promise<Access> {
    const listener = await this.#context.db.stores.dataListener(hostId);
    const base = listener?.urls.find(isPlain);
    if (base === undefined) {
      throw new HawserError('unavailable', 'The host has no data listener; send and fetch the bytes through the API.');
    }
    const ticketId = this.#context.randomSecret();
    const link = this.#context.agents.of(hostId);
    const request = { ticketId, subject, ops, timeoutSeconds: LIFETIME_SECONDS };
    const { expiresAt } = await link.call('installTicket', request);
    const now = this.#context.now().getTime();
    const subjectKey = keyOf(subject);
    const kept = (this.#installed.get(subjectKey) ?? []).filter((ticket) => ticket.until > now);
    this.#installed.set(subjectKey, [...kept, { ticketId, until: now + LIFETIME_SECONDS * 1000 }]);
    return {
      url: `${base.replace(/\/+$/, '')}${pathOf(subject)}`,
      token: ticketId,
      ca: listener?.ca ?? null,
      host: listener?.host ?? null,
      expiresAt: new Date(expiresAt),
    };
  }

  /**
   * A ticket that control itself uses, to pass on what comes to its own listener: one for each subject, kept
   * and renewed. `refused`: the agent does not know that one any more (it was restarted).
   */
  async own(hostId: string, subject: TicketSubject, refused?: Access): Promise<Access> {
    const key = keyOf(subject);
    const now = this.#context.now().getTime();
    const known = this.#own.get(key);
    const access = await known?.access.catch(() => undefined);
    if (access !== undefined && access.token !== refused?.token && access.expiresAt.getTime() - now > MARGIN_MS) {
      return access;
    }
    if (this.#own.get(key) !== known) return this.own(hostId, subject, refused);
    const ops: ('read' | 'write')[] = subject.kind === 'upload' ? ['read', 'write'] : ['read'];
    const made = this.install(hostId, subject, ops);
    this.#own.set(key, { hostId, access: made });
    made.catch(() => this.#own.delete(key));
    this.#forgetOld();
    return made;
  }

  /** Best effort: the bytes they stand for are gone all the same. */
  async revoke(hostId: string, subjectKey: string): Promise<void> {
    const tickets = this.#installed.get(subjectKey) ?? [];
    this.#installed.delete(subjectKey);
    this.#own.delete(subjectKey);
    for (const { ticketId } of tickets) {
      try {
        await this.#context.agents.of(hostId).call('revokeTicket', { ticketId });
      } catch (error) {
        if (!isHawserError(error)) throw error;
      }
    }
  }

  /** Tickets of what is long done. */
  #forgetOld(): void {
    const now = this.#context.now().getTime();
    for (const [key, tickets] of this.#installed) {
      if (tickets.every((ticket) => ticket.until <= now)) {
        this.#installed.delete(key);
        this.#own.delete(key);
      }
    }
  }
}

/** What an agent says of itself is not asked for more than bytes: no query, no fragment, no user that would end up before ours. */
function isPlain(text: string): boolean {
  const url = URL.parse(text);
  if (url === null || (url.protocol !== 'http:' && url.protocol !== 'https:')) return false;
  return !/[?#]/.test(text) && url.username === '' && url.password === '';
}

function keyOf(subject: TicketSubject): string {
  return subject.kind === 'upload' ? subject.uploadId : subject.key;
}

function pathOf(subject: TicketSubject): string {
  return subject.kind === 'upload'
    ? `/data/v1/uploads/${subject.uploadId}`
    : `/data/v1/copies/${subject.storeId}/${subject.key}`;
}
