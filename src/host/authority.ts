import 'reflect-metadata'; // @peculiar/x509 wants it loaded first
import { createHash, createPublicKey, webcrypto } from 'node:crypto';
import { isIP } from 'node:net';
import {
  BasicConstraintsExtension,
  ExtendedKeyUsage,
  ExtendedKeyUsageExtension,
  KeyUsageFlags,
  KeyUsagesExtension,
  Pkcs10CertificateRequest,
  Pkcs10CertificateRequestGenerator,
  type PublicKey,
  SubjectAlternativeNameExtension,
  X509Certificate,
  X509CertificateGenerator,
} from '@peculiar/x509';
import { z } from 'zod';
import { HawserError } from '../core/errors.ts';

const DAY_MS = 24 * 3600 * 1000;
/** How long a certificate is good; it is renewed when a third of that is over. */
export const CERTIFICATE_DAYS = 365;
const AUTHORITY_DAYS = 20 * 365;
const algorithm = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' } as const;

/** Who a certificate is for: its subject is `CN=ID, OU=KIND, O=Hawser`, and those who verify look at both. */
export interface CertificateHolder {
  readonly kind: 'agent' | 'control';
  readonly id: string;
}

export interface Authority {
  /** PEM. */
  readonly certificate: string;
  /** SHA-256 of it, hex. */
  readonly fingerprint: string;
  /**
   * A certificate for the key of this request (PEM), good for these names and addresses as server and client;
   * PEM with the authority's after it. What else the request says does not count. Throws `bad-request`.
   */
  issue(holder: CertificateHolder, request: string, names: readonly string[]): Promise<string>;
  /** SHA-256 (hex) of the public key that a request is for. Throws `bad-request`. */
  keyHash(request: string): Promise<string>;
}

const keptSchema = z.object({ key: z.string(), certificate: z.string() });

/**
 * The authority of one database: made once, whoever of several controls comes first. `keep` returns what
 * was kept before, else keeps what it is given.
 */
export async function openAuthority(
  keep: (make: () => Promise<string>) => Promise<string>,
  now: () => Date,
): Promise<Authority> {
  const { key, certificate } = parseKept(await keep(async () => JSON.stringify(await makeAuthority(now()))));
  const signing = await privateKeyOf(key);
  const own = new X509Certificate(certificate);
  return {
    certificate,
    fingerprint: sha256(own.rawData),
    issue: async (holder, request, names) => {
      const publicKey = await provenKey(request);
      const made = await sign({ subject: subjectOf(holder), issuer: own, signing, publicKey, names, now: now() });
      return `${made.toString('pem')}\n${certificate}`;
    },
    keyHash: async (request) => sha256((await provenKey(request)).rawData),
  };
}

/** A new private key, PKCS 8 PEM. */
export async function newPrivateKey(): Promise<string> {
  const keys = await webcrypto.subtle.generateKey(algorithm, true, ['sign', 'verify']);
  return pem('PRIVATE KEY', await webcrypto.subtle.exportKey('pkcs8', keys.privateKey));
}

/** A request for a certificate of this key, PEM. */
export async function certificateRequest(key: string): Promise<string> {
  const spki = createPublicKey(key).export({ type: 'spki', format: 'der' });
  const publicKey = await webcrypto.subtle.importKey('spki', spki, algorithm, true, ['verify']);
  const request = await Pkcs10CertificateRequestGenerator.create({
    name: 'CN=hawser',
    keys: { privateKey: await privateKeyOf(key), publicKey },
    signingAlgorithm: algorithm,
  });
  return `${request.toString('pem')}\n`;
}

/** A key of our own with its certificate. */
export async function issueKeys(
  authority: Authority,
  holder: CertificateHolder,
  names: readonly string[],
): Promise<{ readonly key: string; readonly cert: string }> {
  const key = await newPrivateKey();
  return { key, cert: await authority.issue(holder, await certificateRequest(key), names) };
}

function parseKept(text: string): z.infer<typeof keptSchema> {
  try {
    return keptSchema.parse(JSON.parse(text));
  } catch (cause) {
    throw new HawserError('corrupt', 'The authority of the agents in the database cannot be read; restore it.', {
      cause,
    });
  }
}

async function makeAuthority(now: Date): Promise<z.infer<typeof keptSchema>> {
  const keys = await webcrypto.subtle.generateKey(algorithm, true, ['sign', 'verify']);
  const certificate = await X509CertificateGenerator.createSelfSigned({
    name: 'CN=Hawser agents, O=Hawser',
    notBefore: new Date(now.getTime() - DAY_MS),
    notAfter: new Date(now.getTime() + AUTHORITY_DAYS * DAY_MS),
    signingAlgorithm: algorithm,
    keys,
    extensions: [
      new BasicConstraintsExtension(true, 0, true),
      new KeyUsagesExtension(KeyUsageFlags.keyCertSign | KeyUsageFlags.cRLSign, true),
    ],
  });
  const key = pem('PRIVATE KEY', await webcrypto.subtle.exportKey('pkcs8', keys.privateKey));
  return { key, certificate: `${certificate.toString('pem')}\n` };
}

/** The public key of a request whose signature proves that its sender has the private one. */
async function provenKey(text: string): Promise<PublicKey> {
  try {
    const request = new Pkcs10CertificateRequest(text);
    if (await request.verify()) return request.publicKey;
  } catch (cause) {
    throw new HawserError('bad-request', 'The certificate request cannot be read; wanted: PKCS 10 as PEM.', { cause });
  }
  throw new HawserError('bad-request', 'The certificate request is not signed with its own key.');
}

function sign(facts: {
  readonly subject: string;
  readonly issuer: X509Certificate;
  readonly signing: webcrypto.CryptoKey;
  readonly publicKey: PublicKey;
  readonly names: readonly string[];
  readonly now: Date;
}): Promise<X509Certificate> {
  return X509CertificateGenerator.create({
    subject: facts.subject,
    issuer: facts.issuer.subject,
    notBefore: new Date(facts.now.getTime() - DAY_MS),
    notAfter: new Date(facts.now.getTime() + CERTIFICATE_DAYS * DAY_MS),
    signingKey: facts.signing,
    signingAlgorithm: algorithm,
    publicKey: facts.publicKey,
    extensions: [
      new BasicConstraintsExtension(false, undefined, true),
      new KeyUsagesExtension(KeyUsageFlags.digitalSignature, true),
      new ExtendedKeyUsageExtension([ExtendedKeyUsage.serverAuth, ExtendedKeyUsage.clientAuth]),
      new SubjectAlternativeNameExtension(facts.names.map((value) => ({ type: isIP(value) ? 'ip' : 'dns', value }))),
    ],
  });
}

function sha256(bytes: ArrayBuffer): string {
  return createHash('sha256').update(Buffer.from(bytes)).digest('hex');
}

function subjectOf({ kind, id }: CertificateHolder): string {
  return `CN=${id}, OU=${kind}, O=Hawser`;
}

function privateKeyOf(key: string): Promise<webcrypto.CryptoKey> {
  const der = Buffer.from(key.replace(/-----[^-]+-----|\s/g, ''), 'base64');
  return webcrypto.subtle.importKey('pkcs8', der, algorithm, false, ['sign']);
}

function pem(label: string, der: ArrayBuffer): string {
  const text = Buffer.from(der)
    .toString('base64')
    .replace(/(.{64})/g, '$1\n')
    .trimEnd();
  return `-----BEGIN ${label}-----\n${text}\n-----END ${label}-----\n`;
}
