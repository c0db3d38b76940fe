import 'reflect-metadata'; // @peculiar/x509 wants it loaded first
import { webcrypto } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { isIP } from 'node:net';
import { hostname, networkInterfaces } from 'node:os';
import {
  BasicConstraintsExtension,
  ExtendedKeyUsage,
  ExtendedKeyUsageExtension,
  KeyUsageFlags,
  KeyUsagesExtension,
  SubjectAlternativeNameExtension,
  X509Certificate,
  X509CertificateGenerator,
} from '@peculiar/x509';
import { HawserError } from '../core/errors.ts';
import { readIfThere, writeFileAtomic } from './atomic-file.ts';

export interface TlsKeys {
  readonly key: string;
  readonly cert: string;
}

const DAY_MS = 24 * 3600 * 1000;
const algorithm = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' } as const;

/** The configured certificate and key. */
export async function readTlsKeys(cert: string, key: string): Promise<TlsKeys> {
  try {
    return { cert: await readFile(cert, 'utf8'), key: await readFile(key, 'utf8') };
  } catch (cause) {
    throw new HawserError(
      'bad-request',
      'The files of tls.cert and tls.key cannot both be read. Give the PEM files of the certificate chain and of its private key.',
      { cause },
    );
  }
}

/**
 * A certificate of our own in `keys/`, for this host's names and addresses; made at the first start and
 * again when it nears its end or a name was added. Clients get the certificate (`keys/server.crt`) to trust it.
 */
export async function ownTlsKeys(at: (...parts: readonly string[]) => string, now: Date): Promise<TlsKeys> {
  const names = ownNames();
  const [cert, key] = [await readIfThere(at('keys', 'server.crt')), await readIfThere(at('keys', 'server.key'))];
  if (cert !== undefined && key !== undefined && stillGood(cert.toString(), names, now)) {
    return { cert: cert.toString(), key: key.toString() };
  }
  const made = await makeCertificate(names, now);
  await writeFileAtomic(at('keys', 'server.key'), made.key);
  await writeFileAtomic(at('keys', 'server.crt'), made.cert);
  return made;
}

/** Names and addresses of this machine. */
export function ownNames(): readonly string[] {
  const addresses = Object.values(networkInterfaces()).flatMap((list) =>
    (list ?? []).map(({ address }) => address.replace(/%.*$/, '')),
  );
  return [...new Set(['localhost', '127.0.0.1', '::1', hostname(), ...addresses])];
}

function stillGood(pem: string, names: readonly string[], now: Date): boolean {
  const certificate = new X509Certificate(pem);
  const covered =
    certificate
      .getExtension(SubjectAlternativeNameExtension)
      ?.names.toJSON()
      .map(({ value }) => value) ?? [];
  return certificate.notAfter.getTime() - now.getTime() > 30 * DAY_MS && names.every((name) => covered.includes(name));
}

async function makeCertificate(names: readonly string[], now: Date): Promise<TlsKeys> {
  const keys = await webcrypto.subtle.generateKey(algorithm, true, ['sign', 'verify']);
  const certificate = await X509CertificateGenerator.createSelfSigned({
    name: `CN=${hostname()}, O=Hawser`,
    notBefore: new Date(now.getTime() - DAY_MS),
    notAfter: new Date(now.getTime() + 825 * DAY_MS),
    signingAlgorithm: algorithm,
    keys,
    extensions: [
      new BasicConstraintsExtension(false, undefined, true),
      new KeyUsagesExtension(KeyUsageFlags.digitalSignature, true),
      new ExtendedKeyUsageExtension([ExtendedKeyUsage.serverAuth]),
      new SubjectAlternativeNameExtension(names.map((value) => ({ type: isIP(value) ? 'ip' : 'dns', value }))),
    ],
  });
  const pkcs8 = Buffer.from(await webcrypto.subtle.exportKey('pkcs8', keys.privateKey)).toString('base64');
  const key = `-----BEGIN PRIVATE KEY-----\n${pkcs8.replace(/(.{64})/g, '$1\n').trimEnd()}\n-----END PRIVATE KEY-----\n`;
  return { cert: `${certificate.toString('pem')}\n`, key };
}
