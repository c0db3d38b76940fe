import type { FastifyRequest } from 'fastify';
import type { z } from 'zod';
import { HawserError } from '../../core/errors.ts';
import type { Actor } from '../../core/nouns.ts';
import type { BackingImages } from './backing-images.ts';
import type { UploadServerClient } from './upload-server-client.ts';

/** What the routes share. */
export interface LonghornScope {
  readonly images: BackingImages;
  readonly client: UploadServerClient;
  readonly actorOf: (request: FastifyRequest) => Actor;
  readonly baseOf: (request: FastifyRequest) => string;
}

export function nameOf(request: FastifyRequest): string {
  return (request.params as { readonly name: string }).name;
}

export function notUnderstood(error: z.ZodError): HawserError {
  const faults = error.issues.map(({ path, message }) => `${path.join('.') || 'body'}: ${message}`);
  return new HawserError('bad-request', `The body does not fit: ${faults.join('; ')}.`);
}
