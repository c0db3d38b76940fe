import { connect, type Socket } from 'node:net';

/** One plain TCP connection that sends what it is told and keeps what comes: for bytes that no HTTP library would send. */
export class RawClient implements AsyncDisposable {
  readonly socket: Socket;
  readonly #closed: Promise<void>;
  readonly #watchers = new Set<() => void>();
  #text = '';
  #over = false;

  private constructor(socket: Socket) {
    this.socket = socket;
    socket.on('data', (chunk: Buffer) => {
      this.#text += chunk.toString('latin1');
      this.#tell();
    });
    // A reset is one way to be refused; what came before it is what counts.
    socket.on('error', () => {});
    this.#closed = new Promise((resolve) => {
      const over = () => {
        this.#over = true;
        this.#tell();
        resolve();
      };
      socket.once('close', over).once('end', over);
    });
  }

  static async open(url: string): Promise<RawClient> {
    const { hostname, port } = new URL(url);
    const socket = connect({ host: hostname, port: Number(port), allowHalfOpen: true });
    await new Promise<void>((resolve, reject) => socket.once('connect', resolve).once('error', reject));
    return new RawClient(socket);
  }

  /** Head of a request, lines without their ends. */
  head(...lines: readonly string[]): void {
    this.socket.write(
      `${['Host: x', ...lines.slice(1)].reduce((text, line) => `${text}${line}\r\n`, `${lines[0]}\r\n`)}\r\n`,
    );
  }

  send(bytes: Uint8Array | string): void {
    if (!this.socket.destroyed) this.socket.write(bytes);
  }

  /** Resolves when all that was given is with the kernel, or the connection is gone. */
  async drained(): Promise<void> {
    if (this.socket.writableLength === 0 || this.socket.destroyed) return;
    await new Promise<void>((resolve) => this.socket.once('drain', resolve).once('close', () => resolve()));
  }

  /** Cuts the connection without a word, as a pulled plug does not even do. */
  cut(): void {
    this.socket.resetAndDestroy();
  }

  get text(): string {
    return this.#text;
  }

  get over(): boolean {
    return this.#over;
  }

  /** All that came, once `pattern` is in it; fails when the server ends without. */
  until(pattern: RegExp): Promise<string> {
    return new Promise((resolve, reject) => {
      const look = () => {
        const found = pattern.test(this.#text);
        if (!found && !this.#over) return;
        this.#watchers.delete(look);
        if (found) resolve(this.#text);
        else reject(new Error(`The server ended without ${pattern}; it said: ${this.#text.slice(0, 2000)}`));
      };
      this.#watchers.add(look);
      look();
    });
  }

  /** Resolves when the server has closed its side. */
  get closed(): Promise<void> {
    return this.#closed;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.socket.destroy();
    await this.#closed;
  }

  #tell(): void {
    for (const watch of this.#watchers) watch();
  }
}
