import type { X509Certificate } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import { Agent, request as httpsRequest, type RequestOptions } from 'node:https';
import { connect, type PeerCertificate, type TLSSocket } from 'node:tls';
import type { z } from 'zod';
import {
  type HeartbeatAnswer,
  type HeartbeatRequest,
  heartbeatAnswer,
  type JoinAnswer,
  type JoinRequest,
  joinAnswer,
  peerAnswer,
} from '../contract/join.ts';
import { linkError } from '../contract/link.ts';
import { HawserError, isErrorCode } from '../core/errors.ts';

/** How long control may take to answer. */
const ANSWER_MS = 15_000;

/** Control as its agents know it. Every call tries the URLs in order and throws `unavailable` when none answers. */
export interface ControlLink extends Disposable {
  join(urls: readonly string[], request: JoinRequest): Promise<JoinAnswer>;
  heartbeat(urls: readonly string[], request: HeartbeatRequest): Promise<HeartbeatAnswer>;
  /** Whether there is such a host now, with this key. */
  knows(urls: readonly string[], host: { readonly id: string; readonly keyHash: string }): Promise<boolean>;
  /** Our own address on the way to control, as the last call had it: by that control can reach us. */
  readonly ownAddress: string | undefined;
}

export interface ControlLinkOptions {
  /** The authority of the agents, PEM. */
  readonly ca: string;
  /** Our certificate, PEM; undefined before we have one. */
  readonly keys: () => { readonly key: string; readonly cert: string } | undefined;
}

export function connectControl({ ca, keys }: ControlLinkOptions): ControlLink {
  const agent = new Agent({ keepAlive: true });
  let ownAddress: string | undefined;
  const ask = async <T>(urls: readonly string[], path: string, body: unknown, schema: z.ZodType<T>): Promise<T> => {
    const failures: string[] = [];
    for (const url of urls) {
      try {
        const { hostname, port } = new URL(url);
        const host = hostname.replace(/^\[|\]$/g, '');
        const options = { agent, host, port, path, ca, ...keys(), checkServerIdentity: mustBeControl };
        const { value, address } = await post(options, body);
        ownAddress = address ?? ownAddress;
        return schema.parse(value);
      } catch (error) {
        if (error instanceof HawserError && error.code !== 'unavailable') throw error;
        failures.push(`${url}: ${error instanceof Error ? error.message : String(error)}`);
      }
    }
    throw new HawserError('unavailable', `Control does not answer. Tried ${failures.join('; ')}`);
  };
  return {
    join: (urls, request) => ask(urls, '/agent/v1/join', request, joinAnswer),
    heartbeat: (urls, request) => ask(urls, '/agent/v1/heartbeat', request, heartbeatAnswer),
    knows: async (urls, { id, keyHash }) =>
      (await ask(urls, '/agent/v1/peer', { hostId: id, keyHash }, peerAnswer)).known,
    get ownAddress() {
      return ownAddress;
    },
    [Symbol.dispose]: () => agent.destroy(),
  };
}

/**
 * The authority that control shows, PEM, when it has this SHA-256 (hex). Nothing is told to whoever answers,
 * and its right to that certificate is proven only by the TLS connection that is made with it afterwards.
 * Throws `unavailable`, or `forbidden` when it shows another one.
 */
export async function fetchAuthority(urls: readonly string[], fingerprint: string): Promise<string> {
  const failures: string[] = [];
  for (const url of urls) {
    try {
      const shown = await certificatesOf(new URL(url));
      const found = shown.find((one) => one.fingerprint256.replaceAll(':', '').toLowerCase() === fingerprint);
      if (found !== undefined) return found.toString();
      throw new HawserError(
        'forbidden',
        `What answers at ${url} is not the control that this join token is of: it shows another authority. Take a token of that control, or look who answers there.`,
      );
    } catch (error) {
      if (error instanceof HawserError && error.code === 'forbidden') throw error;
      failures.push(`${url}: ${error instanceof Error ? error.message : String(error)}`);
    }
  }
  throw new HawserError('unavailable', `Control does not answer. Tried ${failures.join('; ')}`);
}

function certificatesOf(url: URL): Promise<readonly X509Certificate[]> {
  return new Promise((resolve, reject) => {
    const host = url.hostname.replace(/^\[|\]$/g, '');
    const socket = connect({ host, port: Number(url.port), rejectUnauthorized: false });
    socket.setTimeout(ANSWER_MS, () => socket.destroy(new Error('no answer within 15 s')));
    socket.once('error', reject);
    socket.once('secureConnect', () => {
      resolve(chainOf(socket));
      socket.destroy();
    });
  });
}

function chainOf(socket: TLSSocket): readonly X509Certificate[] {
  const chain: X509Certificate[] = [];
  for (let one = socket.getPeerX509Certificate(); one !== undefined; one = one.issuerCertificate) {
    if (chain.some((known) => known.fingerprint256 === one?.fingerprint256)) break;
    chain.push(one);
  }
  return chain;
}

function mustBeControl(_name: string, { subject }: PeerCertificate): Error | undefined {
  if (subject.OU === 'control') return undefined;
  return new HawserError('forbidden', `Not control answers there, but ${String(subject.OU)} ${String(subject.CN)}.`);
}

function post(
  options: RequestOptions,
  body: unknown,
): Promise<{ readonly value: unknown; readonly address: string | undefined }> {
  const text = JSON.stringify(body);
  const headers = { 'content-type': 'application/json', 'content-length': Buffer.byteLength(text) };
  return new Promise((resolve, reject) => {
    const request = httpsRequest({ ...options, method: 'POST', headers, timeout: ANSWER_MS }, (response) => {
      const address = response.socket.localAddress;
      answerOf(response).then((value) => resolve({ value, address }), reject);
    });
    request.on('timeout', () => request.destroy(new Error('no answer within 15 s')));
    request.on('error', (cause) => {
      reject(cause instanceof HawserError ? cause : new HawserError('unavailable', cause.message, { cause }));
    });
    request.end(text);
  });
}

async function answerOf(response: IncomingMessage): Promise<unknown> {
  let text = '';
  response.setEncoding('utf8');
  for await (const part of response) text += part;
  const value = tryJson(text);
  if (response.statusCode === 200) return value;
  const failed = linkError.safeParse(value);
  if (!failed.success) throw new HawserError('unavailable', `the answer was ${response.statusCode}`);
  const { code, message, details } = failed.data.error;
  throw new HawserError(isErrorCode(code) ? code : 'internal', message, { details });
}

function tryJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
