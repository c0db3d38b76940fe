import type { AgentLink } from '../../contract/link.ts';
import { HawserError, isHawserError } from '../../core/errors.ts';

/** The agents that have reported to this control, by host. */
export class Agents {
  readonly #links = new Map<string, AgentLink>();
  readonly #first = Promise.withResolvers<void>();

  /** Resolves when the first agent has reported. */
  get first(): Promise<void> {
    return this.#first.promise;
  }

  set(hostId: string, link: AgentLink): void {
    this.#links.set(hostId, link);
    this.#first.resolve();
  }

  has(hostId: string): boolean {
    return this.#links.has(hostId);
  }

  /** Throws `unavailable` when the host has not been heard of here. */
  of(hostId: string): AgentLink {
    const link = this.#links.get(hostId);
    if (link !== undefined) return link;
    throw new HawserError('unavailable', 'The host that keeps these bytes does not answer; try again when it is back.');
  }
}

/** Whether the agent could not be asked, so that nothing is known of what it did. */
export function isUnreachable(error: unknown): boolean {
  return isHawserError(error, 'unavailable') || isHawserError(error, 'connection-lost');
}
