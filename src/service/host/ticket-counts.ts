export const ticketOperations = ['read', 'write', 'zero', 'flush', 'checksum', 'extents'] as const;
export type TicketOperation = (typeof ticketOperations)[number];

/** Operations on Devices behind tickets since the start, and the bytes they moved. */
export class TicketCounts {
  readonly #calls = new Map<TicketOperation, number>();
  readonly #bytes = new Map<TicketOperation, number>();

  begun(operation: TicketOperation): void {
    this.#calls.set(operation, this.calls(operation) + 1);
  }

  moved(operation: TicketOperation, bytes: number): void {
    this.#bytes.set(operation, this.bytes(operation) + bytes);
  }

  calls(operation: TicketOperation): number {
    return this.#calls.get(operation) ?? 0;
  }

  bytes(operation: TicketOperation): number {
    return this.#bytes.get(operation) ?? 0;
  }
}
