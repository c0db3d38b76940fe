import type { FastifyInstance, FastifyReply } from 'fastify';
import { errorCatalogue, type HawserError, isHawserError, toHawserError } from '../../core/errors.ts';
import { MethodNotAllowed } from '../_http/missing-route.ts';
import { statusOf } from './wire-errors.ts';

/** Errors as Rancher's API shapes them. */
export function rancherErrors(app: FastifyInstance): void {
  app.setErrorHandler((error, request, reply) => {
    const known = isHawserError(error) ? error : undefined;
    const status = known === undefined ? statusOfFastify(error) : statusFor(known);
    if (known instanceof MethodNotAllowed) void reply.header('allow', known.allow);
    if (status >= 500) request.log.error({ event: 'http.fault', route: request.routeOptions?.url, err: error });
    return sendError(
      reply,
      status,
      known ?? toHawserError(error, status < 500 ? 'bad-request' : 'internal'),
      request.id,
    );
  });
}

function sendError(reply: FastifyReply, status: number, error: HawserError, requestId: string): FastifyReply {
  const message =
    error.code === 'internal'
      ? `Something failed inside Hawser. The log says what, under request id ${requestId}.`
      : error.message;
  if (status === 401) void reply.header('www-authenticate', 'Bearer realm="hawser"');
  return reply.code(status).type('application/json').serializer(JSON.stringify).send({
    id: '',
    type: 'error',
    links: {},
    actions: {},
    status,
    code: errorCatalogue[error.code].title,
    message,
    detail: error.code,
  });
}

function statusFor(error: HawserError): number {
  return error instanceof MethodNotAllowed ? 405 : statusOf(error.code);
}

function statusOfFastify(error: unknown): number {
  const status = error instanceof Error && 'statusCode' in error ? error.statusCode : undefined;
  return typeof status === 'number' && status >= 400 && status < 500 ? status : 500;
}
