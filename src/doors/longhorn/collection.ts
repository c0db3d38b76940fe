import type { FastifyRequest } from 'fastify';

/** A Rancher resource: every object of the API has these. */
export interface Resource {
  readonly id: string;
  readonly type: string;
  readonly links: Readonly<Record<string, string>>;
  readonly actions: Readonly<Record<string, string>>;
}

/** A Rancher collection. */
export function collection(base: string, type: string, data: readonly Resource[]) {
  return {
    type: 'collection',
    resourceType: type,
    links: { self: `${base}/v1/${type.toLowerCase()}s` },
    createTypes: { [type]: `${base}/v1/${type.toLowerCase()}s` },
    actions: {},
    data,
  };
}

/** Where the client reached us: every link of an answer begins with it. */
export function baseOf(request: FastifyRequest, publicUrl: string | undefined): string {
  return publicUrl?.replace(/\/+$/, '') ?? `${request.protocol}://${request.host}`;
}

/** `/v1`: what there is. */
export function versionResource(base: string): Resource {
  return {
    id: 'v1',
    type: 'apiVersion',
    links: {
      self: `${base}/v1`,
      schemas: `${base}/v1/schemas`,
      backingImages: `${base}/v1/backingimages`,
    },
    actions: {},
  };
}
