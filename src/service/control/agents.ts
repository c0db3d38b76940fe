import type { AgentLink } from '../../contract/link.ts';
import { HawserError, isHawserError } from '../../core/errors.ts';

/** The agents that have reported to this control, by host. */
export class Agents {
  readonly #links = new Map<string, AgentLink>();
  readonly #remote = new Set<string>();
  readonly #first = Promise.withResolvers<void>();

  /** Resolves when the first agent has reported. */
  get first(): Promise<void> {
    return this.#first.promise;
  }

  set(hostId: string, link: AgentLink): void {
    this.#links.set(hostId, link);
    this.#first.resolve();
  }

  /** This host is reached over the network. */
  setRemote(hostId: string): void {
    this.#remote.add(hostId);
  }

  /** It is not followed any more. */
  delete(hostId: string): void {
    this.#links.delete(hostId);
    this.#remote.delete(hostId);
  }

  has(hostId: string): boolean {
    return this.#links.has(hostId);
  }

  /** Whether the agent of this host runs in this very process. */
  isLocal(hostId: string): boolean {
    return this.#links.has(hostId) && !this.#remote.has(hostId);
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
