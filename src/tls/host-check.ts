import { createHash, X509Certificate } from 'node:crypto';
import { checkServerIdentity, type PeerCertificate } from 'node:tls';
import { HawserError } from '../core/errors.ts';
import type { HostIdentity } from '../core/nouns.ts';

/**
 * As `checkServerIdentity` of a TLS connection: the certificate must be of this very host, and good for the name. The
 * names in its certificate an agent chooses, so that it has a good one for the address of any other.
 */
export function hostCheck(wanted: HostIdentity): (name: string, shown: PeerCertificate) => Error | undefined {
  return (name, shown) => otherHost(wanted, name, shown) ?? checkServerIdentity(name, shown);
}

/**
 * Why a certificate, of the authority already, is not the one of this host: `unavailable`, with `details` wanted and
 * found. An older certificate is good as long as its key is the one that the host joined with.
 */
export function otherHost(wanted: HostIdentity, name: string, shown: PeerCertificate): HawserError | undefined {
  const { OU, CN } = shown.subject ?? {};
  const found = `${String(OU)} ${String(CN)}`;
  const refused = (message: string) =>
    new HawserError('unavailable', message, { details: { wanted: wanted.id, found } });
  if (OU !== 'agent') {
    return refused(
      `No host answers at ${name}: wanted was the host ${wanted.id}, the certificate there is of ${found}. Nothing was sent. Look what listens there.`,
    );
  }
  if (CN !== wanted.id) {
    return refused(
      `Another host answers at ${name}: wanted was the host ${wanted.id}, the certificate there is of the host ${String(CN)}. Nothing was sent. Look whether two hosts name the same address (dataUrl, agentUrl, name service), or whether somebody stands in between.`,
    );
  }
  if (wanted.keyHash === null || publicKeyHash(shown) === wanted.keyHash) return undefined;
  return refused(
    `At ${name} answers the host ${wanted.id}, but not with the key that it joined with. Nothing was sent. Stop what runs there with old keys of a host that was taken out and joined anew.`,
  );
}

/** Who a certificate is of, as the authority wrote it; what is not there is empty. */
export interface CertificateHolder {
  /** `agent` or `control`. */
  readonly unit: string;
  /** The id of the host. */
  readonly name: string;
  /** SHA-256 (hex) of its public key. */
  readonly keyHash: string;
}

export function holderOf(shown: PeerCertificate): CertificateHolder {
  return { unit: one(shown.subject?.OU), name: one(shown.subject?.CN), keyHash: publicKeyHash(shown) };
}

function one(found: string | readonly string[] | undefined): string {
  return typeof found === 'string' ? found : (found?.[0] ?? '');
}

/** SHA-256 (hex) of the public key of a certificate, as SubjectPublicKeyInfo. */
export function publicKeyHash({ raw }: Pick<PeerCertificate, 'raw'>): string {
  const key = new X509Certificate(raw).publicKey.export({ type: 'spki', format: 'der' });
  return createHash('sha256').update(key).digest('hex');
}
