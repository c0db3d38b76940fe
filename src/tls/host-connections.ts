import { Agent, type AgentOptions } from 'node:https';
import type { PeerCertificate } from 'node:tls';
import type { HostIdentity } from '../core/nouns.ts';
import { hostCheck } from './host-check.ts';

/** What an `https.Agent` takes whose every connection must reach this host; null: whoever the authority vouches for. */
export function optionsForHost(host: HostIdentity | null | undefined): {
  readonly checkServerIdentity?: (name: string, shown: PeerCertificate) => Error | undefined;
} {
  return host === null || host === undefined ? {} : { checkServerIdentity: hostCheck(host) };
}

/**
 * Kept connections to hosts, apart for each: who answers is only looked at when a connection is made, and two hosts may
 * name the same address. (Of requests with a check of their own Node keeps no connection, or shares it whatever the check.)
 */
export class HostConnections implements Disposable {
  readonly #options: AgentOptions;
  readonly #agents = new Map<string, Agent>();

  constructor(options: AgentOptions = {}) {
    this.#options = options;
  }

  to(host: HostIdentity | null | undefined): Agent {
    const key = host === null || host === undefined ? '' : `${host.id} ${host.keyHash ?? ''}`;
    const known = this.#agents.get(key);
    if (known !== undefined) return known;
    const made = new Agent({ keepAlive: true, ...this.#options, ...optionsForHost(host) });
    this.#agents.set(key, made);
    return made;
  }

  [Symbol.dispose](): void {
    for (const agent of this.#agents.values()) agent.destroy();
    this.#agents.clear();
  }
}
