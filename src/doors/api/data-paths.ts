import { API_PREFIX } from '../../contract/api/common.ts';

/** A path item of the OpenAPI text, as far as we write it by hand. */
export type PathItem = Readonly<Record<string, unknown>>;

/**
 * The routes that move bytes, as the OpenAPI text tells them. They are written here and not made from
 * the routes: they read and write bodies that no schema describes.
 */
export function dataPaths(): Readonly<Record<string, PathItem>> {
  return {
    [`${API_PREFIX}/uploads/{id}/data`]: { put: putData },
    [`${API_PREFIX}/uploads/{id}/zeros`]: { post: postZeros },
    [`${API_PREFIX}/uploads/{id}/discard`]: { post: postDiscard },
    [`${API_PREFIX}/uploads/{id}/ranges`]: {
      get: operation('receivedRanges', 'uploads', 'What was acknowledged', json('ReceivedRanges')),
    },
    [`${API_PREFIX}/uploads/{id}/leaves`]: { get: leaves('uploadLeaves', 'uploads') },
    [`${API_PREFIX}/images/{id}/data`]: { get: getData('get'), head: getData('head') },
    [`${API_PREFIX}/images/{id}/extents`]: {
      get: {
        ...operation('imageExtents', 'images', 'Data and holes, in order', json('ExtentList')),
        parameters: [id, query('from', 'Offset to begin at; `next` of the answer before.', 0)],
      },
    },
    [`${API_PREFIX}/images/{id}/leaves`]: { get: leaves('imageLeaves', 'images') },
  };
}

const id = { name: 'id', in: 'path', required: true, schema: { type: 'string', format: 'uuid' } };

const octets = { schema: { type: 'string', format: 'binary' } };

const refused = {
  description: 'Refused or failed: `code` says why (docs/errors.md), `detail` what to do.',
  content: { 'application/problem+json': { schema: { $ref: '#/components/schemas/Problem' } } },
};

const putData = {
  ...operation('putData', 'uploads', 'Send bytes of any range; any number in parallel', json('Receipt')),
  description:
    'Without Content-Range the body starts at 0. With Content-Digest nothing of the body counts unless it matches; without it what arrived counts even when the connection breaks. Bytes that were received before are compared: equal ones are skipped, others are `range-conflict`. Send `Expect: 100-continue` to be refused before the body.',
  parameters: [
    id,
    header('Content-Range', 'bytes FIRST-LAST/TOTAL, or */TOTAL unknown', 'bytes 0-1048575/8388608'),
    header('Content-Digest', 'RFC 9530, sha-256 or sha-512 of this body', 'sha-256=:…:'),
  ],
  requestBody: { required: true, content: { 'application/octet-stream': octets } },
};

const postZeros = {
  ...operation('putZeros', 'uploads', 'These ranges are zeros; nothing is sent for them', json('Receipt')),
  requestBody: jsonBody('ZerosRequest'),
};

const postDiscard = {
  ...operation(
    'discardRanges',
    'uploads',
    'Forget received ranges, so that they can be sent anew',
    json('ReceivedRanges'),
  ),
  requestBody: jsonBody('ZerosRequest'),
};

function getData(method: 'get' | 'head') {
  const summary = method === 'get' ? 'The bytes' : 'Size, digests and ETag without the bytes';
  return {
    ...operation(method === 'get' ? 'getData' : 'headData', 'images', summary, {
      200: {
        description: 'All of it.',
        ...(method === 'get' ? { content: { 'application/octet-stream': octets } } : {}),
      },
      206: { description: 'The range asked for.' },
      304: { description: 'If-None-Match matched.' },
    }),
    description: 'Answers with ETag, Accept-Ranges and Repr-Digest.',
    parameters: [
      id,
      header('Range', 'RFC 9110: bytes=FIRST-LAST', 'bytes=0-1048575'),
      header('If-Range', 'The ETag that the range belongs to', '"…"'),
      query('filename', 'Name for the save dialog.'),
    ],
  };
}

function leaves(operationId: string, tag: string) {
  return {
    ...operation(operationId, tag, 'SHA-256 of each 1 MiB block, 32 bytes each; all zero: not known', {
      200: { description: 'Leaves, one after the other.', content: { 'application/octet-stream': octets } },
    }),
    parameters: [id, query('first', 'Block to begin at.', 0), query('count', 'At most 65536.', 65_536)],
  };
}

function operation(operationId: string, tag: string, summary: string, responses: object) {
  return { operationId, tags: [tag], summary, parameters: [id], responses: { ...responses, default: refused } };
}

function json(schema: string) {
  return {
    200: {
      description: 'Done.',
      content: { 'application/json': { schema: { $ref: `#/components/schemas/${schema}` } } },
    },
  };
}

function jsonBody(schema: string) {
  return {
    required: true,
    content: { 'application/json': { schema: { $ref: `#/components/schemas/${schema}` } } },
  };
}

function header(name: string, description: string, example: string) {
  return { name, in: 'header', description, example, schema: { type: 'string' } };
}

function query(name: string, description: string, usual?: number) {
  const schema = usual === undefined ? { type: 'string' } : { type: 'integer', minimum: 0, default: usual };
  return { name, in: 'query', description, schema };
}
