import { createHash } from 'node:crypto';
import { HawserError } from '../../core/errors.ts';
import type { Range } from '../../core/range.ts';
import type { ReceiveRequest } from '../../service/host/data-plane.ts';

type Headers = Readonly<Record<string, string | string[] | undefined>>;

/** Where the body of a PUT belongs. `Content-Range: bytes a-b/total` (RFC 9110 14.4), `Content-Digest` (RFC 9530). Throws `bad-request`. */
export function receiveRequest(headers: Headers): ReceiveRequest {
  const contentLength = headers['content-length'] === undefined ? null : Number(headers['content-length']);
  const digest = contentDigest(text(headers['content-digest']));
  const range = text(headers['content-range']);
  if (range === undefined) return { offset: 0, length: contentLength, total: null, digest };
  const match = /^bytes (\d{1,15})-(\d{1,15})\/(\d{1,15}|\*)$/.exec(range.trim());
  const [offset, last, total] = [Number(match?.[1]), Number(match?.[2]), match?.[3]];
  if (match === null || last < offset) {
    throw new HawserError(
      'bad-request',
      `Content-Range must be "bytes FIRST-LAST/TOTAL" (or /* when the total is not known), for example "bytes 0-1048575/8388608"; found "${range.slice(0, 100)}".`,
    );
  }
  const length = last - offset + 1;
  if (contentLength !== null && contentLength !== length) {
    throw new HawserError(
      'bad-request',
      `Content-Range speaks of ${length} bytes, Content-Length of ${contentLength}. They must agree.`,
    );
  }
  return { offset, length, total: total === '*' ? null : Number(total), digest };
}

function contentDigest(header: string | undefined): ReceiveRequest['digest'] {
  if (header === undefined) return undefined;
  for (const [name, algorithm, bytes] of [
    ['sha-256', 'sha256', 32],
    ['sha-512', 'sha512', 64],
  ] as const) {
    const match = new RegExp(`(?:^|[,\\s])${name}=:([A-Za-z0-9+/=]+):`).exec(header);
    const digest = Buffer.from(match?.[1] ?? '', 'base64');
    if (match !== null && digest.length === bytes) return { algorithm, bytes: digest };
  }
  throw new HawserError(
    'bad-request',
    `Content-Digest must have sha-256 or sha-512 as RFC 9530 writes it, for example "sha-256=:BASE64:"; found "${header.slice(0, 100)}".`,
  );
}

export type RangeAnswer =
  | { readonly kind: 'whole' }
  | { readonly kind: 'part'; readonly range: Range }
  | { readonly kind: 'unsatisfiable' };

/**
 * What a GET asks for (RFC 9110 14.2). Several ranges and unknown units are answered with the whole;
 * so is a range whose If-Range names other bytes, so that a changed image is never spliced.
 */
export function rangeAnswer(headers: Headers, size: number, etag: string): RangeAnswer {
  const header = text(headers.range);
  if (header === undefined) return { kind: 'whole' };
  const condition = text(headers['if-range']);
  if (condition !== undefined && condition.trim() !== etag) return { kind: 'whole' };
  const match = /^bytes=(\d{0,15})-(\d{0,15})$/.exec(header.trim());
  if (match === null || (match[1] === '' && match[2] === '')) return { kind: 'whole' };
  if (match[1] === '') {
    const length = Math.min(Number(match[2]), size);
    return length === 0 ? { kind: 'unsatisfiable' } : { kind: 'part', range: { offset: size - length, length } };
  }
  const offset = Number(match[1]);
  const last = match[2] === '' ? size - 1 : Math.min(Number(match[2]), size - 1);
  if (match[2] !== '' && Number(match[2]) < offset) return { kind: 'whole' };
  return offset >= size ? { kind: 'unsatisfiable' } : { kind: 'part', range: { offset, length: last - offset + 1 } };
}

/** Whether an If-None-Match names these bytes. */
export function matchesNone(headers: Headers, etag: string): boolean {
  const header = text(headers['if-none-match']);
  if (header === undefined) return false;
  return header.trim() === '*' || header.split(',').some((tag) => tag.trim().replace(/^W\//, '') === etag);
}

/**
 * The ETag of a sealed object: its bytes, so that every Copy of an Image has the same one. What is known to
 * have been touched since it was sealed (`sealedAs`, its fingerprint then), or has no digest, has one of its own.
 */
export function etagOf(treeDigest: string | undefined, fingerprint: string, sealedAs?: string | null): string {
  if (treeDigest !== undefined && (sealedAs ?? fingerprint) === fingerprint) return `"${treeDigest.slice(0, 40)}"`;
  const object = createHash('sha256').update(fingerprint).digest('hex').slice(0, 8);
  return `"${treeDigest?.slice(0, 40) ?? 'unknown'}-${object}"`;
}

/** `attachment` with the name for old and new clients (RFC 6266, RFC 8187). */
export function contentDisposition(filename: string): string {
  const plain = filename.replace(/[^\x20-\x7e]|["\\/]/g, '_');
  const encoded = encodeURIComponent(filename).replace(
    /['()*!]/g,
    (c) => `%${c.charCodeAt(0).toString(16).toUpperCase()}`,
  );
  return `attachment; filename="${plain}"; filename*=UTF-8''${encoded}`;
}

function text(header: string | string[] | undefined): string | undefined {
  return Array.isArray(header) ? header.join(', ') : header;
}
