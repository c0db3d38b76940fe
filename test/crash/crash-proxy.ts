import { once } from 'node:events';
import http, { type IncomingMessage, type ServerResponse } from 'node:http';
import { type AddressInfo, connect } from 'node:net';
import type { Duplex } from 'node:stream';
import { dataAccess, receivedRanges, zerosRequest } from '../../src/contract/api/upload.ts';
import type { Range } from '../../src/core/range.ts';
import { Ledger, type Passed } from './ledger.ts';

/** Where a running server listens. */
export interface Target {
  readonly api: string;
  readonly data: string;
}

/** Moments of an upload, told while they happen: whoever kills in the callback kills right then. */
export type Moment =
  | { readonly kind: 'acknowledged' | 'moved' }
  /** The whole finish request went on to the server. */
  | { readonly kind: 'finish-request' }
  /** Its answer is here. Returns false when it is not to be passed on. */
  | { readonly kind: 'finish-answer' }
  /** The client has it. */
  | { readonly kind: 'finish-answered' };

type Side = 'api' | 'data';

/**
 * Stands between a client and a server that comes back at other ports, on both listeners: the client
 * keeps its addresses. Bytes pass unchanged but for one thing, the URL in answers of `…/access`,
 * which leads to this proxy, so that also what goes straight to the data listener is seen.
 * Small answers are passed on only when they are whole.
 */
export class CrashProxy implements AsyncDisposable {
  ledger = new Ledger();
  /** Told of every moment; false keeps the answer of a finish from the client. */
  onMoment: (moment: Moment) => boolean = () => true;
  target: Target | undefined;
  /** False: connections break, as when nobody is there. */
  passable = true;
  readonly #servers: Readonly<Record<Side, http.Server>>;
  readonly #agent = new http.Agent({ keepAlive: true });
  #outstanding = 0;
  #idle: (() => void)[] = [];

  private constructor() {
    this.#servers = { api: this.#server('api'), data: this.#server('data') };
  }

  static async open(): Promise<CrashProxy> {
    const proxy = new CrashProxy();
    for (const server of Object.values(proxy.#servers)) {
      server.listen(0, '127.0.0.1');
      await once(server, 'listening');
    }
    return proxy;
  }

  get url(): string {
    return this.#urlOf('api');
  }

  /** Resolves when every answer of a server that is gone has been noted. */
  async drained(): Promise<void> {
    while (this.#outstanding > 0) await new Promise<void>((resolve) => this.#idle.push(resolve));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#agent.destroy();
    for (const server of Object.values(this.#servers)) {
      server.closeAllConnections();
      server.close();
    }
  }

  #urlOf(side: Side): string {
    return `http://127.0.0.1:${(this.#servers[side].address() as AddressInfo).port}`;
  }

  #server(side: Side): http.Server {
    const pass = (incoming: IncomingMessage, outgoing: ServerResponse) => void this.#relay(side, incoming, outgoing);
    const server = http.createServer({ requestTimeout: 0, keepAliveTimeout: 60_000 }, pass);
    server.on('checkContinue', pass);
    server.on('upgrade', (incoming, socket, head) => this.#upgrade(side, incoming, socket, head));
    return server;
  }

  async #relay(side: Side, incoming: IncomingMessage, outgoing: ServerResponse): Promise<void> {
    const { target } = this;
    if (target === undefined || !this.passable) {
      incoming.socket.destroy();
      return;
    }
    incoming.on('error', () => {});
    outgoing.on('error', () => {});
    const call = callOf(incoming);
    const whole = call === 'zeros' ? await bodyOf(incoming) : undefined;
    if (whole === null) return;
    const entry = this.#note(call, incoming, whole);
    const { hostname, port } = new URL(target[side]);
    const { method, url: path, headers } = incoming;
    const forward = http.request({ hostname, port, path, method, headers, agent: this.#agent });
    this.#outstanding++;
    forward.on('close', () => this.#ended());
    forward.on('error', () => outgoing.destroy());
    forward.on('continue', () => outgoing.writeContinue());
    forward.on('response', (answer) => {
      this.#outstanding++;
      void this.#answer({ call, entry, outgoing }, answer).finally(() => this.#ended());
    });
    outgoing.on('close', () => forward.destroy());
    if (call === 'finish') forward.on('finish', () => this.onMoment({ kind: 'finish-request' }));
    if (entry !== undefined && call === 'put') incoming.on('data', (chunk: Buffer) => this.#moved(entry, chunk.length));
    if (whole === undefined) incoming.pipe(forward);
    else forward.end(whole);
  }

  #note(call: Call, incoming: IncomingMessage, whole: Buffer | undefined): Passed | undefined {
    switch (call) {
      case 'put':
        return this.ledger.begin('put', [rangeOf(incoming)]);
      case 'zeros':
        return this.ledger.begin('zeros', zerosRequest.parse(JSON.parse(String(whole))).ranges);
      case 'finish':
        return this.ledger.note('finish');
      default:
        return undefined;
    }
  }

  #moved(entry: Passed, bytes: number): void {
    this.ledger.moved(entry, bytes);
    this.onMoment({ kind: 'moved' });
  }

  async #answer(
    of: { readonly call: Call; readonly entry: Passed | undefined; readonly outgoing: ServerResponse },
    answer: IncomingMessage,
  ): Promise<void> {
    const { call, entry, outgoing } = of;
    const status = answer.statusCode ?? 502;
    answer.on('error', () => outgoing.destroy());
    if (call === 'other') {
      outgoing.writeHead(status, answer.rawHeaders);
      answer.pipe(outgoing);
      return;
    }
    const body = await bodyOf(answer);
    if (body === null) {
      outgoing.destroy();
      return;
    }
    if (entry !== undefined) this.ledger.answered(entry, status);
    if (call === 'ranges' && status === 200) this.ledger.told(receivedRanges.parse(JSON.parse(body.toString())).ranges);
    const pass = call !== 'finish' || this.onMoment({ kind: 'finish-answer' });
    if (!pass) {
      outgoing.destroy();
      return;
    }
    const told = call === 'access' && status === 200 ? this.#redirect(body) : body;
    const { 'transfer-encoding': _, ...headers } = answer.headers;
    outgoing.writeHead(status, { ...headers, 'content-length': told.length });
    outgoing.end(told);
    if (call === 'put' || call === 'zeros' || call === 'ranges') this.onMoment({ kind: 'acknowledged' });
    if (call === 'finish') outgoing.on('finish', () => this.onMoment({ kind: 'finish-answered' }));
  }

  /** The ticket's URL with our data listener in place of the server's. */
  #redirect(body: Buffer): Buffer {
    const access = dataAccess.parse(JSON.parse(body.toString()));
    const { pathname } = new URL(access.url);
    return Buffer.from(JSON.stringify({ ...access, url: `${this.#urlOf('data')}${pathname}` }));
  }

  #ended(): void {
    this.#outstanding--;
    if (this.#outstanding === 0) for (const resolve of this.#idle.splice(0)) resolve();
  }

  #upgrade(side: Side, incoming: IncomingMessage, socket: Duplex, head: Buffer): void {
    if (this.target === undefined || !this.passable) {
      socket.destroy();
      return;
    }
    const lines = [`${incoming.method} ${incoming.url} HTTP/1.1`];
    for (let i = 0; i < incoming.rawHeaders.length; i += 2) {
      lines.push(`${incoming.rawHeaders[i]}: ${incoming.rawHeaders[i + 1]}`);
    }
    const { hostname, port } = new URL(this.target[side]);
    const forward = connect(Number(port), hostname, () => {
      forward.write(`${lines.join('\r\n')}\r\n\r\n`);
      forward.write(head);
      forward.pipe(socket).pipe(forward);
    });
    forward.on('error', () => socket.destroy());
    forward.on('close', () => socket.destroy());
    socket.on('error', () => forward.destroy());
    socket.on('close', () => forward.destroy());
  }
}

type Call = Passed['what'] | 'access' | 'other';

function callOf({ method, url = '' }: IncomingMessage): Call {
  const [, action] = /\/backingimages\/[^/?]+\?.*\baction=(chunkUpload|chunkCoalesce)\b/.exec(url) ?? [];
  if (action !== undefined) return action === 'chunkUpload' ? 'put' : 'finish';
  const [, tail] = /\/uploads\/[^/?]+\/(data|zeros|ranges|finish|access)(?:\?.*)?$/.exec(url) ?? [];
  if (method === 'PUT' && tail === 'data') return 'put';
  if (method === 'POST' && (tail === 'zeros' || tail === 'finish')) return tail;
  if (method === 'GET' && (tail === 'ranges' || tail === 'access')) return tail;
  return 'other';
}

function rangeOf(incoming: IncomingMessage): Range {
  const [, first, last] = /^bytes (\d+)-(\d+)\//.exec(incoming.headers['content-range'] ?? '') ?? [];
  if (first === undefined || last === undefined) throw new Error(`a PUT without a range: ${incoming.url}`);
  return { offset: Number(first), length: Number(last) - Number(first) + 1 };
}

/** null when it broke off. */
async function bodyOf(message: IncomingMessage): Promise<Buffer | null> {
  const chunks: Buffer[] = [];
  try {
    for await (const chunk of message) chunks.push(chunk as Buffer);
  } catch {
    return null;
  }
  return message.complete ? Buffer.concat(chunks) : null;
}
