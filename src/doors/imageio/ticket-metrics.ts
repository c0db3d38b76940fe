import { Counter, Gauge, Registry } from 'prom-client';
import type { HostTickets } from '../../service/host/host-tickets.ts';
import { ticketOperations } from '../../service/host/ticket-counts.ts';

export interface TicketMetrics {
  readonly registry: Registry;
  /** For the listeners: counts an answer. */
  readonly answered: (method: string, status: number) => void;
  /** In the Prometheus text format. */
  text(): Promise<string>;
}

const methods = new Set(['GET', 'PUT', 'PATCH', 'POST', 'DELETE', 'OPTIONS', 'HEAD']);

export function createTicketMetrics(tickets: HostTickets): TicketMetrics {
  const registry = new Registry();
  const registers = [registry];
  const answers = new Counter({
    name: 'hawser_imageio_answers_total',
    help: 'Answers of the imageio door by method and status.',
    labelNames: ['method', 'status'],
    registers,
  });
  new Gauge({
    name: 'hawser_imageio_tickets',
    help: 'Tickets to devices; active ones have an operation that runs.',
    labelNames: ['state'],
    registers,
    collect() {
      const all = tickets.list();
      const active = all.filter((ticket) => ticket.active).length;
      this.set({ state: 'active' }, active);
      this.set({ state: 'idle' }, all.length - active);
    },
  });
  const { counts } = tickets;
  operationCounter(
    'hawser_imageio_operations_total',
    'Operations on devices behind tickets.',
    counts.calls.bind(counts),
  );
  operationCounter('hawser_imageio_bytes_total', 'Bytes moved by them.', counts.bytes.bind(counts));
  return {
    registry,
    answered: (method, status) => answers.inc({ method: methods.has(method) ? method : 'other', status }),
    text: () => registry.metrics(),
  };

  function operationCounter(name: string, help: string, value: typeof counts.calls): void {
    new Counter({
      name,
      help,
      labelNames: ['operation'],
      registers,
      collect() {
        this.reset();
        for (const operation of ticketOperations) this.inc({ operation }, value(operation));
      },
    });
  }
}
