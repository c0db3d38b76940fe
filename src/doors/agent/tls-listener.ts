import { createServer, type Server } from 'node:https';
import type { TLSSocket } from 'node:tls';
import { type FastifyInstance, type FastifyRequest, fastify } from 'fastify';
import { HawserError, toHawserError } from '../../core/errors.ts';
import { publicKeyHash } from '../../tls/host-check.ts';

/** PEM. */
export interface TlsIdentity {
  readonly key: string;
  readonly cert: string;
  /** The authority that clients' certificates must be of. */
  readonly ca: string;
}

/** Who is at the other end, by its certificate of our authority. */
export interface Peer {
  readonly kind: string;
  readonly id: string;
  /** SHA-256 (hex) of its public key. */
  readonly keyHash: string;
}

/**
 * A listener for TLS with certificates on both sides, always. A client without a good one is let in as far
 * as the answer that says why it is refused: `peerOf` throws that.
 */
export function tlsListener(tls: TlsIdentity): { readonly app: FastifyInstance; renew(tls: TlsIdentity): void } {
  const listening: Server[] = [];
  const app: FastifyInstance = fastify({
    logger: false,
    bodyLimit: 1024 * 1024,
    forceCloseConnections: true,
    serverFactory: (handler) => {
      const server = createServer({ ...tls, requestCert: true, rejectUnauthorized: false }, (request, response) => {
        handler(request, response);
      });
      listening.push(server);
      return server;
    },
  });
  app.setErrorHandler((error, _request, reply) => {
    const { code, message, details } = toHawserError(error);
    return reply.status(statusOf(code)).send({ error: { code, message, details } });
  });
  return {
    app,
    renew: (renewed) => {
      for (const server of listening) server.setSecureContext(renewed);
    },
  };
}

/** Throws `forbidden` with what is wrong with the client's certificate. */
export function peerOf(request: FastifyRequest): Peer {
  const socket = request.raw.socket as TLSSocket;
  const certificate = socket.getPeerCertificate();
  if (certificate?.subject === undefined) {
    throw new HawserError('forbidden', 'A certificate is needed here, and none was shown.');
  }
  if (!socket.authorized) {
    const reason = String(socket.authorizationError ?? 'unknown');
    const why = reason.includes('EXPIRED') ? 'it has expired' : 'it is not of the authority of this control';
    throw new HawserError('forbidden', `The certificate that was shown is not good here: ${why} (${reason}).`);
  }
  const { CN, OU } = certificate.subject;
  return { kind: String(OU), id: String(CN), keyHash: publicKeyHash(certificate) };
}

function statusOf(code: string): number {
  if (code === 'not-found') return 404;
  return code === 'forbidden' || code === 'expired' ? 403 : 409;
}
