import { HawserError } from '../../core/errors.ts';
import { NbdClient, type NbdOptions } from './client.ts';

/** Calls under way that one connection is enough for: what one body has. */
const CALLS_OF_ONE = 4;

/** More of them were not measured to be faster, with servers of as many threads. */
const MOST = 4;

/** How long, in ms, a further one may take: a server that has clients enough lets it wait for ever. */
const FURTHER_LIMIT = 5_000;

interface Connection {
  readonly client: NbdClient;
  underWay: number;
}

/**
 * One connection to an export, and further ones while many calls are under way, where the server says that all of them see
 * the same (NBD_FLAG_CAN_MULTI_CONN): a server of several threads then works with as many. Not before there is need: servers
 * let everybody wait who comes when they have clients enough. Source: doc/proto.md of the NBD project.
 */
export class NbdConnections implements AsyncDisposable {
  readonly first: NbdClient;
  readonly #options: NbdOptions;
  readonly #stop = new AbortController();
  #most: number;
  #connections: readonly Connection[];
  #calls = 0;
  #opening: Promise<void> | undefined;

  private constructor(first: NbdClient, options: NbdOptions, most: number) {
    this.first = first;
    this.#options = options;
    this.#most = first.can('multiConn') ? most : 1;
    this.#connections = [{ client: first, underWay: 0 }];
  }

  /** Opens the first one. Throws what `NbdClient.open` throws. */
  static async open(options: NbdOptions, most = MOST, signal?: AbortSignal): Promise<NbdConnections> {
    return new NbdConnections(await NbdClient.open(options, signal), options, most);
  }

  /** Counts `work`, which makes several requests, as one call. */
  async during<T>(work: () => Promise<T>): Promise<T> {
    this.#calls++;
    if (this.#calls > CALLS_OF_ONE * this.#connections.length && this.#connections.length < this.#most) {
      this.#opening ??= this.#another().finally(() => {
        this.#opening = undefined;
      });
    }
    try {
      return await work();
    } finally {
      this.#calls--;
    }
  }

  /** On the one that has least to do. */
  async use<T>(work: (client: NbdClient) => Promise<T>): Promise<T> {
    const connection = this.#connections.reduce((best, each) => (each.underWay < best.underWay ? each : best));
    connection.underWay++;
    try {
      return await work(connection.client);
    } finally {
      connection.underWay--;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort(new HawserError('cancelled', 'This NBD device was closed by us.'));
    await this.#opening;
    await Promise.all(this.#connections.map(({ client }) => client[Symbol.asyncDispose]()));
  }

  async #another(): Promise<void> {
    const { contexts: _, ...options } = this.#options;
    const client = await NbdClient.open({ ...options, handshakeLimit: FURTHER_LIMIT }, this.#stop.signal).catch(
      // Whatever it is, the others go on, and say so when it is worse.
      () => undefined,
    );
    const { size, flags } = this.first.export;
    if (client === undefined || client.export.size !== size || client.export.flags !== flags) {
      this.#most = 1; // it is not asked again
      return client?.[Symbol.asyncDispose]();
    }
    const connection = { client, underWay: 0 };
    this.#connections = [...this.#connections, connection];
    void client.closed.then(() => {
      this.#connections = this.#connections.filter((each) => each !== connection);
    });
  }
}
