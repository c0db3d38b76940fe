import { createServer, type Server, type ServerOptions } from 'node:http';
import { createServer as createNodeServer, Server as NodeServer } from 'node:https';
import type { Socket } from 'node:net';
import { createSecureContext } from 'node:tls';
import { OwnTls } from '../../native/own-tls.ts';
import { type ServerKeys, type TlsSession, tlsServer } from '../../native/tls-session.ts';

/**
 * An HTTPS server, not listening yet. Its connections can be lent (lent-connection.ts) where our own TLS sessions can be had;
 * elsewhere, and with keys that those cannot use, it is node's. As there, `secureConnection` tells of a connection
 * that requests come from.
 */
export function createSecureServer(options: ServerOptions, keys: ServerKeys): Server {
  const accept = tlsServer(keys);
  if (accept === undefined) return createNodeServer({ ...options, ...keys });
  const server = createServer(options);
  acceptors.set(server, accept);
  // What makes requests of a connection's bytes; it takes any stream (documented at the event `connection`).
  const serve = server.listeners('connection');
  server.removeAllListeners('connection');
  for (const listener of serve)
    server.on('secureConnection', (connection) => Reflect.apply(listener, server, [connection]));
  server.on('connection', (socket: Socket) => {
    server.emit('secureConnection', new OwnTls((acceptors.get(server) ?? accept)(), socket));
  });
  return server;
}

/** Connections that come from now on see the new certificate. Throws, and changes nothing, when the keys cannot be used. */
export function renewKeys(server: object, keys: ServerKeys): void {
  if (server instanceof NodeServer) return void server.setSecureContext(keys);
  if (!acceptors.has(server)) throw new Error('This server has no TLS, so there is no certificate to renew.');
  const accept = tlsServer(keys);
  if (accept === undefined) {
    createSecureContext(keys); // says what is wrong with them
    throw new Error('OpenSSL does not take the new certificate and its key.');
  }
  acceptors.set(server, accept);
}

/** What makes the sessions of a server. */
const acceptors = new WeakMap<object, () => TlsSession>();
