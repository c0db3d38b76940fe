import { once } from 'node:events';
import http, { type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Range } from '../../src/core/range.ts';

/** Stands before the data listener of an agent and notes which bytes are asked for, for ever at one address. */
export class PeerRelay implements AsyncDisposable {
  /** The ranges of all `GET …/data`, in order. */
  readonly asked: Range[] = [];
  /** The data listener; connections break while there is none. */
  target: string | undefined;
  readonly #agent = new http.Agent({ keepAlive: true });
  readonly #server: http.Server;

  private constructor() {
    const pass = (incoming: IncomingMessage, outgoing: ServerResponse) => this.#pass(incoming, outgoing);
    this.#server = http.createServer({ requestTimeout: 0, keepAliveTimeout: 60_000 }, pass);
    this.#server.on('checkContinue', pass);
  }

  static async open(): Promise<PeerRelay> {
    const relay = new PeerRelay();
    relay.#server.listen(0, '127.0.0.1');
    await once(relay.#server, 'listening');
    return relay;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#agent.destroy();
    this.#server.closeAllConnections();
    this.#server.close();
  }

  #pass(incoming: IncomingMessage, outgoing: ServerResponse): void {
    if (this.target === undefined) {
      incoming.socket.destroy();
      return;
    }
    this.#note(incoming);
    const { hostname, port } = new URL(this.target);
    const { method, url: path, headers } = incoming;
    const forward = http.request({ hostname, port, path, method, headers, agent: this.#agent });
    incoming.on('error', () => forward.destroy());
    outgoing.on('error', () => forward.destroy());
    outgoing.on('close', () => forward.destroy());
    forward.on('error', () => outgoing.destroy());
    forward.on('continue', () => outgoing.writeContinue());
    forward.on('response', (answer) => {
      answer.on('error', () => outgoing.destroy());
      answer.on('aborted', () => outgoing.destroy());
      outgoing.writeHead(answer.statusCode ?? 502, answer.rawHeaders);
      answer.pipe(outgoing);
    });
    incoming.pipe(forward);
  }

  #note({ method, url = '', headers }: IncomingMessage): void {
    const [, first, last] = /^bytes=(\d+)-(\d+)$/.exec(headers.range ?? '') ?? [];
    if (method !== 'GET' || !/\/data(\?|$)/.test(url) || first === undefined) return;
    this.asked.push({ offset: Number(first), length: Number(last) - Number(first) + 1 });
  }
}
