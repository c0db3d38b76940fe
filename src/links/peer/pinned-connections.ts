import { Agent, type RequestOptions } from 'node:https';
import type { Duplex } from 'node:stream';

/** Connects to a server that must show this certificate (DER) and is otherwise not verified. */
export type ConnectPinned = (to: {
  readonly host: string;
  readonly port: number;
  /** undefined for an address */
  readonly name: string | undefined;
  readonly certificate: Uint8Array;
}) => Duplex;

/** Kept connections to one server, whose certificate was verified on another connection. */
export class PinnedConnections extends Agent {
  readonly #connect: ConnectPinned;
  readonly #certificate: Uint8Array;

  constructor(connect: ConnectPinned, certificate: Uint8Array) {
    super({ keepAlive: true });
    this.#connect = connect;
    this.#certificate = certificate;
  }

  override createConnection({ host, port, servername }: RequestOptions): Duplex {
    const name = servername === undefined || servername === '' ? undefined : servername;
    const to = { host: host ?? 'localhost', port: Number(port ?? 443), name };
    return this.#connect({ ...to, certificate: this.#certificate });
  }
}
