import type { HostTickets } from '../../service/host/host-tickets.ts';
import type { Exchange } from './exchange.ts';
import { repr } from './python-words.ts';
import { parseTicket, patchTimeout, type TicketRules, ticketInfo } from './ticket-words.ts';
import { badRequest, WireError } from './wire-error.ts';

export interface ControlSettings {
  readonly tickets: HostTickets;
  readonly rules: TicketRules;
  /** `ticket` is a digest of its id: the id is a secret. */
  readonly log: (fields: Readonly<Record<string, unknown>>) => void;
}

export async function putTicket(exchange: Exchange, settings: ControlSettings, id: string): Promise<void> {
  mustHaveId(id);
  const content = parseTicket(await exchange.json('Ticket is not in a json format:'), settings.rules);
  await settings.tickets.add(content);
  const { size, sparse, dirty, read, write, timeoutMs } = content;
  settings.log({
    event: 'imageio.ticket-added',
    size,
    sparse,
    dirty,
    read,
    write,
    timeoutMs,
    ...told(settings, content.id),
  });
  exchange.send(200);
}

export async function getTicket(exchange: Exchange, { tickets }: ControlSettings, id: string): Promise<void> {
  mustHaveId(id);
  const ticket = tickets.find(id);
  if (ticket === undefined) throw new WireError(404, `No such ticket ${repr(id)}`);
  exchange.sendJson(ticketInfo(ticket));
}

/** Ours: all of them. */
export async function listTickets(exchange: Exchange, { tickets }: ControlSettings): Promise<void> {
  exchange.sendJson(tickets.list().map(ticketInfo));
}

export async function patchTicket(exchange: Exchange, settings: ControlSettings, id: string): Promise<void> {
  mustHaveId(id);
  const timeoutMs = patchTimeout(await exchange.json('Invalid patch:'));
  const ticket = settings.tickets.find(id);
  if (ticket === undefined) throw new WireError(404, `No such ticket: ${id}`);
  await ticket.extend(timeoutMs);
  settings.log({ event: 'imageio.ticket-extended', timeoutMs, ...told(settings, id) });
  exchange.send(200);
}

export async function deleteTicket(exchange: Exchange, settings: ControlSettings, id: string): Promise<void> {
  const { tickets } = settings;
  const about = id === '' ? {} : told(settings, id);
  const label = tickets.find(id)?.content.label;
  const ended = id === '' ? await tickets.clear() : await tickets.remove(id);
  settings.log({ event: id === '' ? 'imageio.tickets-cleared' : 'imageio.ticket-removed', ended, ...about });
  if (ended === 'busy') throw new WireError(409, `Timeout cancelling transfer ${label}`);
  exchange.send(204);
}

function mustHaveId(id: string): void {
  if (id === '') throw badRequest('Ticket id is required');
}

function told({ tickets }: ControlSettings, id: string): Readonly<Record<string, unknown>> {
  return { ticket: tickets.publicName(id) };
}
