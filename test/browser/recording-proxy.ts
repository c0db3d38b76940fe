import { once } from 'node:events';
import { createServer, type IncomingMessage, request, type Server, type ServerResponse } from 'node:http';
import { type AddressInfo, connect } from 'node:net';
import type { Duplex } from 'node:stream';

/** One PUT of bytes that the server acknowledged. */
export interface SentRange {
  readonly uploadId: string;
  readonly offset: number;
  readonly length: number;
}

/**
 * Stands between browser and server: notes which ranges were sent, and can hold PUTs back, so that a
 * test meets an upload in its middle without any clock. Nothing is changed on the way.
 */
export class RecordingProxy {
  /** Ranges that were sent and acknowledged, in the order of their answers. */
  readonly sent: SentRange[] = [];
  readonly #server: Server;
  readonly #target: URL;
  #passes = Number.POSITIVE_INFINITY;
  #held: (() => void)[] = [];
  #answer: number | undefined;

  private constructor(target: string) {
    this.#target = new URL(target);
    this.#server = createServer((incoming, outgoing) => void this.#relay(incoming, outgoing));
    this.#server.on('upgrade', (incoming, socket, head) => this.#upgrade(incoming, socket, head));
  }

  static async open(target: string): Promise<RecordingProxy> {
    const proxy = new RecordingProxy(target);
    proxy.#server.listen(0, '127.0.0.1');
    await once(proxy.#server, 'listening');
    return proxy;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  /** How many PUTs wait now. */
  get held(): number {
    return this.#held.length;
  }

  /** Lets `count` more PUTs through and holds the others. */
  holdAfter(count: number): void {
    this.#passes = count;
  }

  /** Everything that waits goes on, and nothing is held from now on. */
  release(): void {
    this.#passes = Number.POSITIVE_INFINITY;
    for (const go of this.#held.splice(0)) go();
  }

  /** Answers every PUT with this status itself, as a proxy with an opinion does; undefined: no more. */
  answerPuts(status: number | undefined): void {
    this.#answer = status;
  }

  bytesSent(uploadId?: string): number {
    const ranges = this.sent.filter((range) => uploadId === undefined || range.uploadId === uploadId);
    return ranges.reduce((sum, range) => sum + range.length, 0);
  }

  async close(): Promise<void> {
    this.release();
    this.#server.closeAllConnections();
    this.#server.close();
    await once(this.#server, 'close');
  }

  async #relay(incoming: IncomingMessage, outgoing: ServerResponse): Promise<void> {
    const range = rangeOf(incoming);
    if (range !== undefined) {
      if (this.#answer !== undefined) {
        incoming.resume();
        outgoing.writeHead(this.#answer, { 'content-type': 'text/html' }).end('<h1>Refused on the way</h1>');
        return;
      }
      await this.#turn(incoming);
      if (incoming.destroyed) return;
    }
    const forward = request(
      {
        host: this.#target.hostname,
        port: this.#target.port,
        path: incoming.url,
        method: incoming.method,
        headers: incoming.headers,
      },
      (answer) => {
        if (range !== undefined && answer.statusCode !== undefined && answer.statusCode < 300) this.sent.push(range);
        outgoing.writeHead(answer.statusCode ?? 502, answer.headers);
        answer.pipe(outgoing);
      },
    );
    forward.on('error', () => outgoing.destroy());
    outgoing.on('close', () => forward.destroy());
    incoming.pipe(forward);
  }

  async #turn(incoming: IncomingMessage): Promise<void> {
    if (this.#passes > 0) {
      this.#passes--;
      return;
    }
    await new Promise<void>((go) => {
      this.#held.push(go);
      incoming.once('close', () => {
        this.#held = this.#held.filter((other) => other !== go);
        go();
      });
    });
  }

  #upgrade(incoming: IncomingMessage, socket: Duplex, head: Buffer): void {
    const lines = [`${incoming.method} ${incoming.url} HTTP/1.1`];
    for (let i = 0; i < incoming.rawHeaders.length; i += 2) {
      lines.push(`${incoming.rawHeaders[i]}: ${incoming.rawHeaders[i + 1]}`);
    }
    const forward = connect(Number(this.#target.port), this.#target.hostname, () => {
      forward.write(`${lines.join('\r\n')}\r\n\r\n`);
      forward.write(head);
      forward.pipe(socket).pipe(forward);
    });
    forward.on('error', () => socket.destroy());
    socket.on('error', () => forward.destroy());
    socket.on('close', () => forward.destroy());
  }
}

function rangeOf(incoming: IncomingMessage): SentRange | undefined {
  const uploadId = /\/uploads\/([^/]+)\/data$/.exec(incoming.url ?? '')?.[1];
  const found = /bytes (\d+)-(\d+)/.exec(incoming.headers['content-range'] ?? '');
  if (incoming.method !== 'PUT' || uploadId === undefined || found === null) return undefined;
  const offset = Number(found[1]);
  return { uploadId, offset, length: Number(found[2]) - offset + 1 };
}
