import type { FastifyInstance, FastifyRequest } from 'fastify';
import { HawserError } from '../../core/errors.ts';
import type { DataPlane } from '../../service/host/data-plane.ts';
import type { HostTickets } from '../../service/host/host-tickets.ts';
import { type DataPolicy, dataRoutes } from '../_http/data-routes.ts';

/** The data listener: the byte routes below `/data/v1`, each with a ticket as bearer token. */
export async function dataDoor(
  server: FastifyInstance,
  parts: { readonly plane: DataPlane; readonly tickets: HostTickets },
): Promise<void> {
  await server.register(
    async (app) => {
      await dataRoutes(app, {
        plane: parts.plane,
        policy: ticketPolicy(parts.tickets),
        uploadPath: '/uploads/:id',
        copyPath: '/copies/:storeId/:key',
      });
    },
    { prefix: '/data/v1' },
  );
}

function ticketPolicy(tickets: HostTickets): DataPolicy {
  return {
    async upload(request, op) {
      const { subject } = tickets.use(bearer(request), op);
      const { id } = params(request);
      if (subject.kind !== 'upload' || subject.uploadId !== id) throw foreign();
      return { uploadId: subject.uploadId };
    },
    async copy(request) {
      const { subject } = tickets.use(bearer(request), 'read');
      const { storeId, key } = params(request);
      if (subject.kind !== 'copy' || subject.storeId !== storeId || subject.key !== key) throw foreign();
      const { filename, fingerprint } = subject;
      return { storeId: subject.storeId, key: subject.key, filename, digests: [], fingerprint };
    },
  };
}

function bearer(request: FastifyRequest): string | undefined {
  return /^Bearer (\S+)$/i.exec(request.headers.authorization ?? '')?.[1];
}

function params(request: FastifyRequest): Readonly<Record<string, string | undefined>> {
  return request.params as Readonly<Record<string, string | undefined>>;
}

function foreign(): HawserError {
  return new HawserError('forbidden', 'The ticket is for something else. Ask the API for access to this one.');
}
