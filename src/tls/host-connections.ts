import { Agent, type RequestOptions } from 'node:https';
import type { PeerCertificate } from 'node:tls';
import type { HostIdentity } from '../core/nouns.ts';
import { hostCheck } from './host-check.ts';

export interface HostOptions {
  readonly checkServerIdentity?: (name: string, shown: PeerCertificate) => Error | undefined;
  /** Tells the connections of one host from those of another at the same address. */
  readonly ofHost?: string;
}

/** What a request takes that must reach this host; null: whoever the authority vouches for. */
export function optionsForHost(host: HostIdentity | null | undefined): HostOptions {
  if (host === null || host === undefined) return {};
  return { checkServerIdentity: hostCheck(host), ofHost: `${host.id} ${host.keyHash ?? ''}` };
}

/**
 * Kept connections to hosts. One that was made to one host is never used for another: who answers is only looked at
 * when a connection is made, and two hosts may name the same address.
 */
export class HostConnections extends Agent {
  override getName(options?: RequestOptions & HostOptions): string {
    return `${super.getName(options)}:${options?.ofHost ?? ''}`;
  }
}
