import type { IncomingMessage } from 'node:http';
import { HawserError } from '../../core/errors.ts';
import { type Range, rangeEnd } from '../../core/range.ts';
import type { UrlAnswer } from '../../service/host/ports.ts';
import { responseSource } from '../_http/response-source.ts';
import { strangeAnswer } from './url-failures.ts';

export interface AskedFor {
  readonly wanted: Range | null;
  readonly host: string;
  readonly passed: (bytes: number) => void;
  readonly stallMs: number;
}

/** A Last-Modified promises something only when it was some time before the answer (RFC 9110 8.8.2.2). */
const SETTLED_MS = 60_000;

/** What a 200, 206 or 416 says. Throws `unsupported` when it is not an answer to what was asked. */
export function answerOf(response: IncomingMessage, asked: AskedFor): UrlAnswer {
  try {
    return read(response, asked);
  } catch (error) {
    response.destroy();
    throw error;
  }
}

function read(response: IncomingMessage, { wanted, host, passed, stallMs }: AskedFor): UrlAnswer {
  const validator = validatorOf(response.headers);
  const encoding = encodingOf(response.headers);
  const announced = response.headers['content-length'];
  const contentLength = announced === undefined ? null : Number(announced);
  const cancel = () => void response.destroy();
  const answer = (ranged: boolean, offset: number, sizes: { length: number | null; size: number | null }) => ({
    ranged,
    offset,
    ...sizes,
    validator,
    encoding,
    body: responseSource(response, { length: sizes.length, stallMs, passed }),
    cancel,
  });
  if (response.statusCode === 200) return answer(false, 0, { length: contentLength, size: contentLength });
  if (response.statusCode === 416) return nothingThere(response, { wanted, host, validator });
  const sent = contentRange(response.headers['content-range']);
  if (wanted === null || sent === undefined) throw strangeAnswer(host, 'a part without saying which');
  const tooMuch = sent.range.offset !== wanted.offset || rangeEnd(sent.range) > rangeEnd(wanted);
  if (tooMuch || (contentLength !== null && contentLength !== sent.range.length))
    throw strangeAnswer(host, 'another part than was asked for');
  return answer(true, sent.range.offset, { length: sent.range.length, size: sent.size });
}

/** 416: an empty file has no first byte. */
function nothingThere(
  response: IncomingMessage,
  {
    wanted,
    host,
    validator,
  }: { readonly wanted: Range | null; readonly host: string; readonly validator: string | null },
): UrlAnswer {
  response.destroy();
  const size = /^bytes \*\/(\d{1,15})$/.exec(response.headers['content-range'] ?? '')?.[1];
  if (wanted?.offset === 0 && Number(size) === 0) {
    const body = { drain: () => Promise.resolve() };
    return { ranged: true, offset: 0, length: 0, size: 0, validator, encoding: null, body, cancel: () => {} };
  }
  throw new HawserError(
    'source-changed',
    `The file at ${host} is shorter than it was (${size ?? 'no size told'}). Begin the download anew.`,
  );
}

function contentRange(text: string | undefined): { readonly range: Range; readonly size: number | null } | undefined {
  const match = /^bytes (\d{1,16})-(\d{1,16})\/(\d{1,16}|\*)$/.exec(text?.trim() ?? '');
  const [first, last] = [Number(match?.[1]), Number(match?.[2])];
  const size = match?.[3] === '*' ? null : Number(match?.[3]);
  const sane =
    last >= first && (size === null ? Number.isSafeInteger(last) : Number.isSafeInteger(size) && last < size);
  return sane ? { range: { offset: first, length: last - first + 1 }, size } : undefined;
}

/** Names are told apart in no case (RFC 9110 8.4.1); `identity` should not be sent, and says nothing. */
function encodingOf(headers: IncomingMessage['headers']): string | null {
  const names = (headers['content-encoding'] ?? '').split(',').map((name) => name.trim().toLowerCase());
  const applied = names.filter((name) => name !== '' && name !== 'identity');
  return applied.length === 0 ? null : applied.join(', ');
}

/** A strong ETag, else a Last-Modified that can count as one; as If-Range wants it. */
function validatorOf(headers: IncomingMessage['headers']): string | null {
  const { etag, 'last-modified': modified, date } = headers;
  if (etag !== undefined && /^"[^"]*"$/.test(etag)) return etag;
  if (modified === undefined || date === undefined) return null;
  return Date.parse(date) - Date.parse(modified) >= SETTLED_MS ? modified : null;
}
