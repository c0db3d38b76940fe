import { type ClientRequest, Agent as HttpAgent, request as httpRequest, type IncomingMessage } from 'node:http';
import { request as httpsRequest } from 'node:https';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { HawserError, isHawserError } from '../../core/errors.ts';
import type { UploadServerPlace } from '../../service/control/ports.ts';
import { HostConnections } from '../../tls/host-connections.ts';
import { relay } from '../_http/relay.ts';
import { UPLOAD_SERVER_BASE } from './upload-server.ts';

/** What control shows upload servers, and what it verifies theirs with, PEM. */
export interface UploadServerKeys {
  readonly ca: string;
  readonly cert: string;
  readonly key: string;
}

export interface UploadServerAnswer {
  readonly status: number;
  readonly type: string | undefined;
  readonly body: string;
}

/** The address alone says which server; who may answer there is the host that has one at it. */
export interface UploadServerCall extends UploadServerPlace {
  readonly path: string;
  readonly query: Readonly<Record<string, string>>;
}

/** An answer to pass on is a few words. */
const MOST_ANSWER = 1024 * 1024;
/** A coalesce may put chunks into place; nothing else takes long. */
const QUIET_MS = 600_000;

/** Speaks to upload servers in the name of control. */
export class UploadServerClient {
  readonly #keys: () => UploadServerKeys | undefined;
  readonly #plain = new HttpAgent({ keepAlive: true });
  readonly #tls = new HostConnections();

  /** No keys: upload servers speak plain HTTP with everybody. */
  constructor(keys: () => UploadServerKeys | undefined) {
    this.#keys = keys;
  }

  /** A call without a body. Throws `unavailable` when nobody listens there. */
  async call(to: UploadServerCall): Promise<UploadServerAnswer> {
    const incoming = await this.#send(to);
    const chunks: Buffer[] = [];
    let length = 0;
    for await (const chunk of incoming as AsyncIterable<Buffer>) {
      length += chunk.length;
      if (length <= MOST_ANSWER) chunks.push(chunk);
    }
    const { statusCode = 502, headers } = incoming;
    return { status: statusCode, type: headers['content-type'], body: Buffer.concat(chunks).toString() };
  }

  /** Passes a body on as it comes, and the answer back, unchanged. Answers the status. */
  async relay(request: FastifyRequest, reply: FastifyReply, to: UploadServerCall): Promise<number> {
    const keys = this.#keys();
    await relay(request, reply, { url: urlOf(to, keys), ...keys, host: keys && to.host });
    return reply.raw.statusCode;
  }

  close(): void {
    this.#plain.destroy();
    this.#tls[Symbol.dispose]();
  }

  #send(to: UploadServerCall): Promise<IncomingMessage> {
    const keys = this.#keys();
    const options = { method: 'POST', headers: { 'content-length': '0' }, timeout: QUIET_MS };
    const outgoing =
      keys === undefined
        ? httpRequest(urlOf(to, keys), { ...options, agent: this.#plain })
        : httpsRequest(urlOf(to, keys), { ...options, ...keys, agent: this.#tls.to(to.host) });
    return answerTo(outgoing);
  }
}

function urlOf({ address, path, query }: UploadServerCall, keys: UploadServerKeys | undefined): string {
  const search = new URLSearchParams(query).toString();
  const scheme = keys === undefined ? 'http' : 'https';
  return `${scheme}://${address}${UPLOAD_SERVER_BASE}/${path}${search === '' ? '' : `?${search}`}`;
}

function answerTo(outgoing: ClientRequest): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    outgoing.once('response', resolve);
    outgoing.once('timeout', () => outgoing.destroy(new Error('no answer for ten minutes')));
    outgoing.once('error', (cause) => {
      if (isHawserError(cause)) return reject(cause);
      reject(
        new HawserError(
          'unavailable',
          'The upload server of this image does not answer now. What was received is kept; send on in a moment.',
          { cause },
        ),
      );
    });
    outgoing.end();
  });
}
