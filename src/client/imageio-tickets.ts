import { z } from 'zod';
import { HawserError } from '../core/errors.ts';
import type { Fetch } from './ports.ts';

/** A ticket as a control socket tells it; what it does not tell is not there. */
export const ticketInfo = z.looseObject({
  uuid: z.string(),
  size: z.number(),
  url: z.string(),
  ops: z.array(z.string()),
  timeout: z.number(),
  active: z.boolean().default(false),
  canceled: z.boolean().default(false),
  connections: z.number().default(0),
  idle_time: z.number().default(0),
  transferred: z.number().optional(),
  transfer_id: z.string().optional(),
  /** Ours: when it ends, by the wall clock. */
  expires_at: z.string().nullish(),
});
export type TicketInfo = z.infer<typeof ticketInfo>;

/** What is sent to install one; the field names are the wire's. */
export interface NewTicket {
  readonly uuid: string;
  readonly size: number;
  readonly url: string;
  readonly ops: readonly ('read' | 'write')[];
  readonly timeout: number;
  readonly sparse: boolean;
  readonly filename?: string;
  readonly format?: string;
  readonly backing_chain?: boolean;
}

/** The control socket of an imageio server: ours, or the original's, which has no list. */
export class TicketControl {
  readonly #fetch: Fetch;
  readonly #shown: string;

  /** `fetch` goes to the socket; `shown` is its name in messages. */
  constructor(fetch: Fetch, shown: string) {
    this.#fetch = fetch;
    this.#shown = shown;
  }

  async add(ticket: NewTicket): Promise<void> {
    await this.#call('PUT', pathOf(ticket.uuid), ticket);
  }

  async show(id: string): Promise<TicketInfo> {
    return this.#parse(ticketInfo, await this.#call('GET', pathOf(id)));
  }

  /** undefined: this server has no list. */
  async list(): Promise<readonly TicketInfo[] | undefined> {
    const answer = await this.#ask('GET', '/tickets');
    if (answer.status === 404) return undefined;
    return this.#parse(z.array(ticketInfo), this.#told(answer));
  }

  async extend(id: string, timeout: number): Promise<void> {
    await this.#call('PATCH', pathOf(id), { timeout });
  }

  /** Ends what runs with it. Throws `in-use` when that takes too long: ask again. */
  async remove(id: string): Promise<void> {
    await this.#call('DELETE', pathOf(id));
  }

  async #call(method: string, path: string, body?: unknown): Promise<string> {
    return this.#told(await this.#ask(method, path, body));
  }

  async #ask(method: string, path: string, body?: unknown) {
    const sent = body === undefined ? {} : { body: JSON.stringify(body) };
    try {
      const answer = await this.#fetch(`http://localhost${path}`, { method, headers: {}, ...sent });
      return { status: answer.status, text: await answer.text() };
    } catch (cause) {
      throw this.#silence(cause);
    }
  }

  #told({ status, text }: { readonly status: number; readonly text: string }): string {
    if (status >= 200 && status < 300) return text;
    const said = text.trim().slice(0, 500);
    if (status === 404) throw new HawserError('not-found', 'There is no such ticket.');
    if (status === 409) {
      throw new HawserError('in-use', `The ticket is being ended: ${said}.`, { details: { next: 'Try again.' } });
    }
    if (status !== 400) throw new HawserError('unavailable', `${this.#shown} answered ${status}: ${said}.`);
    throw new HawserError('bad-request', said);
  }

  #silence(cause: unknown): HawserError {
    const code = cause instanceof Error && 'code' in cause ? cause.code : undefined;
    if (code === 'EACCES') {
      return new HawserError(
        'forbidden',
        `This user may not use ${this.#shown}: it installs rights to read and write.`,
        {
          cause,
          details: { next: 'Run it as the user of the server, or one of its group.' },
        },
      );
    }
    const why = cause instanceof Error ? cause.message : String(cause);
    return new HawserError('unavailable', `No answer from ${this.#shown}: ${why}.`, {
      cause,
      details: { next: 'Check that the server runs, and that imageio.http or imageio.https is set.' },
    });
  }

  #parse<T>(schema: z.ZodType<T>, text: string): T {
    try {
      return schema.parse(JSON.parse(text));
    } catch (cause) {
      throw new HawserError('unsupported', `${this.#shown} does not answer as a control socket does.`, { cause });
    }
  }
}

function pathOf(id: string): string {
  return `/tickets/${encodeURIComponent(id)}`;
}
