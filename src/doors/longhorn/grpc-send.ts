import { type ClientRequest, request as httpRequest } from 'node:http';
import { request as httpsRequest } from 'node:https';
import { checkServerIdentity, type PeerCertificate, type TLSSocket } from 'node:tls';
import { type Client, credentials } from '@grpc/grpc-js';
import { HawserError, toHawserError } from '../../core/errors.ts';
import type { DataPlane } from '../../service/host/data-plane.ts';
import type { NamedImageView } from '../../service/host/named-images.ts';
import { holderOf } from '../../tls/host-check.ts';
import type { Sending } from './grpc-messages.ts';
import { backingImageManagerService } from './grpc-service.ts';
import { UPLOAD_SERVER_BASE, type UploadServerTls } from './upload-server.ts';

export interface SenderParts {
  readonly plane: DataPlane;
  /** PEM, shown to other agents, looked at for each call; undefined: they are open. */
  readonly tls: () => UploadServerTls | undefined;
  /** Where the other agents answer gRPC when nothing else is said. */
  readonly port: () => number;
  readonly log: { warn(fields: Readonly<Record<string, unknown>>): void };
}

/** Transfers of one image at the same time. */
const MOST_SENDING = 3;
const ASK_MS = 60_000;
const BOUNDARY = 'hawser-backing-image';

/** Sends backing images to other agents, into the upload servers that those have launched. */
export class BackingImageSender {
  readonly #parts: SenderParts;
  readonly #sending = new Map<string, number>();
  readonly #senders = new Map<string, string>();
  readonly #stop = new AbortController();

  constructor(parts: SenderParts) {
    this.#parts = parts;
  }

  stateOf(name: string): Sending {
    return { references: this.#sending.get(name) ?? 0, sender: this.#senders.get(name) ?? '' };
  }

  stop(): void {
    this.#stop.abort(new HawserError('unavailable', 'Hawser is stopping.'));
  }

  /** Asks the agent at `from` to send `name` here. Resolves once it has begun. */
  async ask(name: string, from: string, to: string): Promise<void> {
    const tls = this.#parts.tls();
    const address = /:\d+$/.test(from) ? from : `${from}:${this.#parts.port()}`;
    const Service = backingImageManagerService();
    const client = new Service(
      address,
      tls === undefined
        ? credentials.createInsecure()
        : credentials.createSsl(Buffer.from(tls.ca), Buffer.from(tls.key), Buffer.from(tls.cert), {
            checkServerIdentity: (at, shown) => noAgent(shown) ?? checkServerIdentity(at, shown),
          }),
    );
    this.#senders.set(name, address);
    try {
      await callSend(client, { name, to_address: to });
    } finally {
      client.close();
    }
  }

  /** Begins to send; throws `too-many` and `conflict` at once, logs what fails later. */
  send(view: NamedImageView, to: string): void {
    if (view.state !== 'ready' || view.size === null) {
      throw new HawserError('conflict', `The image "${view.name}" is ${view.state}; only a ready one can be sent.`);
    }
    const running = this.#sending.get(view.name) ?? 0;
    if (running >= MOST_SENDING) {
      throw new HawserError(
        'too-many',
        `"${view.name}" is sent to ${running} agents already; try again when one is done.`,
      );
    }
    this.#sending.set(view.name, running + 1);
    void this.#push(view, view.size, to)
      .catch((error: unknown) => {
        const { code, message } = toHawserError(error);
        this.#parts.log.warn({ event: 'backing-image.not-sent', name: view.name, to, code, reason: message });
      })
      .finally(() => this.#sending.set(view.name, (this.#sending.get(view.name) ?? 1) - 1));
  }

  async #push({ storeId, key }: NamedImageView, size: number, to: string): Promise<void> {
    await using copy = await this.#parts.plane.openCopy(storeId, key);
    const head = `--${BOUNDARY}\r\ncontent-disposition: form-data; name="chunk"; filename="blob"\r\ncontent-type: application/octet-stream\r\n\r\n`;
    const tail = `\r\n--${BOUNDARY}--\r\n`;
    const outgoing = this.#request(to, size, head.length + size + tail.length);
    const answered = answerOf(outgoing);
    await mustBeAgent(outgoing, this.#parts.tls());
    const gone = AbortSignal.any([this.#stop.signal, answered.ended]);
    outgoing.write(head);
    try {
      await copy.send({ offset: 0, length: size }, { write: (chunk) => written(outgoing, chunk) }, gone);
      outgoing.end(tail);
    } catch (error) {
      outgoing.destroy();
      throw error;
    } finally {
      await answered.status;
    }
  }

  #request(to: string, size: number, length: number): ClientRequest {
    const tls = this.#parts.tls();
    const headers = { 'content-type': `multipart/form-data; boundary=${BOUNDARY}`, 'content-length': length };
    const url = `${tls === undefined ? 'http' : 'https'}://${to}${UPLOAD_SERVER_BASE}/upload?size=${size}`;
    return tls === undefined
      ? httpRequest(url, { method: 'POST', headers })
      : httpsRequest(url, { method: 'POST', headers, key: tls.key, cert: tls.cert, ca: tls.ca });
  }
}

/** To whom bytes are sent must be a host that is here now. */
async function mustBeAgent(outgoing: ClientRequest, tls: UploadServerTls | undefined): Promise<void> {
  if (tls === undefined) return;
  try {
    const socket = await connected(outgoing);
    const shown = socket.getPeerCertificate();
    const refusal = noAgent(shown);
    if (refusal !== undefined) throw refusal;
    if (await tls.mayConnect(holderOf(shown))) return;
    throw new HawserError('unavailable', 'What answers there shows the certificate of a host that was taken out.');
  } catch (error) {
    outgoing.destroy(error instanceof Error ? error : undefined);
    throw error;
  }
}

function connected(outgoing: ClientRequest): Promise<TLSSocket> {
  return new Promise((resolve, reject) => {
    outgoing.once('error', reject);
    outgoing.once('socket', (socket) => {
      const tls = socket as TLSSocket;
      if (outgoing.reusedSocket) resolve(tls);
      else tls.once('secureConnect', () => resolve(tls));
    });
  });
}

function noAgent(shown: PeerCertificate): HawserError | undefined {
  if (holderOf(shown).unit === 'agent') return undefined;
  return new HawserError('unavailable', 'What answers there shows the certificate of no host.');
}

function answerOf(outgoing: ClientRequest): { readonly status: Promise<void>; readonly ended: AbortSignal } {
  const ended = new AbortController();
  const status = new Promise<void>((resolve, reject) => {
    outgoing.once('response', (response) => {
      response.resume();
      if (response.statusCode === 200) return resolve();
      ended.abort(new HawserError('connection-lost', `The other agent answered ${response.statusCode}.`));
      reject(ended.signal.reason);
    });
    outgoing.on('error', (cause) => {
      ended.abort(new HawserError('connection-lost', 'The other agent went away.', { cause }));
      reject(ended.signal.reason);
    });
  });
  status.catch(() => {}); // it is awaited at the end; by then it may have failed long ago
  return { status, ended: ended.signal };
}

function written(outgoing: ClientRequest, chunk: Uint8Array): Promise<void> {
  return new Promise((resolve, reject) => {
    outgoing.write(chunk, (cause) => {
      if (cause) reject(new HawserError('connection-lost', 'The other agent went away.', { cause }));
      else resolve();
    });
  });
}

function callSend(client: Client, request: { readonly name: string; readonly to_address: string }): Promise<void> {
  const deadline = { deadline: Date.now() + ASK_MS };
  return new Promise((resolve, reject) => {
    const send: unknown = Reflect.get(client, 'Send');
    if (typeof send !== 'function') throw new HawserError('internal', 'The gRPC service has no Send.');
    Reflect.apply(send, client, [
      request,
      deadline,
      (cause: Error | null) => {
        if (cause === null) return resolve();
        reject(
          new HawserError('unavailable', `The agent that has the image does not send it: ${cause.message}`, { cause }),
        );
      },
    ]);
  });
}
