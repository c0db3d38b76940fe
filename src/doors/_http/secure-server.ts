import { createServer, type Server, type ServerOptions } from 'node:http';
import { createServer as createNodeServer } from 'node:https';
import type { Socket } from 'node:net';
import { OwnTls } from '../../native/own-tls.ts';
import { type ServerKeys, tlsServer } from '../../native/tls-session.ts';

/**
 * An HTTPS server, not listening yet. Its connections can be lent (lent-connection.ts) where our own TLS sessions can be had;
 * elsewhere, and with keys that those cannot use, it is node's. As there, `secureConnection` tells of a connection
 * that requests come from.
 */
export function createSecureServer(options: ServerOptions, keys: ServerKeys): Server {
  const accept = tlsServer(keys);
  if (accept === undefined) return createNodeServer({ ...options, ...keys });
  const server = createServer(options);
  // What makes requests of a connection's bytes; it takes any stream (documented at the event `connection`).
  const serve = server.listeners('connection');
  server.removeAllListeners('connection');
  for (const listener of serve)
    server.on('secureConnection', (connection) => Reflect.apply(listener, server, [connection]));
  server.on('connection', (socket: Socket) => {
    server.emit('secureConnection', new OwnTls(accept(), socket));
  });
  return server;
}
