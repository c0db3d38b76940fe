import type { AgentRequest } from '../../contract/link.ts';
import { HawserError, isHawserError } from '../../core/errors.ts';
import type { Context } from './context.ts';
import type { Access } from './use-cases.ts';

type Subject = AgentRequest<'installTicket'>['subject'];

const LIFETIME_SECONDS = 3600;

/** Installs tickets on agents and revokes those that this process installed; others end by themselves. */
export class Tickets {
  readonly #context: Context;
  readonly #installed = new Map<string, { readonly ticketId: string; readonly until: number }[]>();

  constructor(context: Context) {
    this.#context = context;
  }

  async install(hostId: string, subject: Subject, ops: ('read' | 'write')[]): Promise<Access> {
    const [base] = await this.#context.db.stores.dataUrls(hostId);
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
      ca: null,
      expiresAt: new Date(expiresAt),
    };
  }

  /** Best effort: the bytes they stand for are gone all the same. */
  async revoke(hostId: string, subjectKey: string): Promise<void> {
    const tickets = this.#installed.get(subjectKey) ?? [];
    this.#installed.delete(subjectKey);
    for (const { ticketId } of tickets) {
      try {
        await this.#context.agents.of(hostId).call('revokeTicket', { ticketId });
      } catch (error) {
        if (!isHawserError(error)) throw error;
      }
    }
  }
}

function keyOf(subject: Subject): string {
  return subject.kind === 'upload' ? subject.uploadId : subject.key;
}

function pathOf(subject: Subject): string {
  return subject.kind === 'upload'
    ? `/data/v1/uploads/${subject.uploadId}`
    : `/data/v1/copies/${subject.storeId}/${subject.key}`;
}
