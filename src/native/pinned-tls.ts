import { connect } from 'node:net';
import { OwnTls } from './own-tls.ts';
import { type TlsSession, tlsClient } from './tls-session.ts';

export interface PinnedTlsTarget {
  readonly host: string;
  readonly port: number;
  /** What the server is asked for; undefined for an address. */
  readonly name: string | undefined;
  /** DER of the only certificate that is good: who gives it has verified it, on another connection to the same server. */
  readonly certificate: Uint8Array;
}

/** Makes connections to a server whose certificate is known already. Undefined where this program has no such TLS. */
export function pinnedTls(): ((target: PinnedTlsTarget) => OwnTls) | undefined {
  const client = tlsClient();
  return client && ((target) => connectPinned(client(target.name), target));
}

function connectPinned(session: TlsSession, { host, port, certificate }: PinnedTlsTarget): OwnTls {
  const secured = () => {
    if (!session.peerCertificate().equals(certificate)) throw new OtherCertificate();
  };
  return new OwnTls(session, connect({ host, port, noDelay: true }), { secured });
}

/** The certificate is another one than was verified. Nothing was sent. */
export class OtherCertificate extends Error {
  constructor() {
    super('The server shows another certificate than before.');
    this.name = 'OtherCertificate';
  }
}
