import { z } from 'zod';
import { type ErrorCode, HawserError } from '../core/errors.ts';
import { errorOfConnection } from './problem.ts';

/** Where the image of an oVirt ticket is: what its owner was given. */
export interface TransferUrl {
  /** For requests. Over a unix socket its host means nothing. */
  readonly url: string;
  readonly socketPath: string | undefined;
  /** For messages: without the ticket, which is a secret. */
  readonly shown: string;
}

/** Whether somebody means a URL, and not the name of an Image. */
export function isTransferUrl(text: string): boolean {
  return /^(?:https?:\/\/|unix:)/i.test(text);
}

/** `https://host:54322/images/TICKET`, `http://…`, `unix:/path/of.sock:/images/TICKET`. Throws `bad-request`. */
export function parseTransferUrl(text: string): TransferUrl {
  const [, socketPath, path] = /^unix:(\/.+?):(\/.*)$/i.exec(text) ?? [];
  const url = urlOf(socketPath === undefined ? text : `http://localhost${path}`);
  if (url === undefined || !/^https?:$/.test(url.protocol) || !/\/images\/[^/]+$/.test(url.pathname)) {
    throw noTransferUrl(text);
  }
  return {
    url: `${url.origin}${url.pathname}`,
    socketPath,
    shown: socketPath === undefined ? url.origin : `the socket ${socketPath}`,
  };
}

/** OPTIONS. What is not there is not offered; old servers answer without a body. */
export const offerAnswer = z.object({
  features: z.array(z.string()).default([]),
  max_readers: z.number().int().positive().default(1),
  max_writers: z.number().int().positive().default(1),
  unix_socket: z.string().optional(),
  /** Ours: bytes that can be read, and what takes `start` and `length`. */
  size: z.number().int().nonnegative().optional(),
  partial: z.array(z.string()).default([]),
});

export const extentsAnswer = z.array(
  z.object({
    start: z.number().int().nonnegative(),
    length: z.number().int().nonnegative(),
    zero: z.boolean(),
  }),
);

export const checksumAnswer = z.object({ checksum: z.string() });

export interface WireAnswer {
  readonly status: number;
  readonly body: string;
  /** The header of that name; a 416 tells in it how far the ticket goes. */
  readonly contentRange?: string | null;
}

const DENIED = /^You are not allowed to access this resource: */;

/** The error that an answer of the wire stands for; never with the ticket's id. `status` is in its details. */
export function errorOfWire({ status, body, contentRange }: WireAnswer, { shown, url }: TransferUrl): HawserError {
  const ticket = url.replace(/^.*\//, '');
  const said = body.replace(/\s+/g, ' ').replaceAll(ticket, '…').trim().slice(0, 200);
  if (status === 403) return deniedError(said.replace(DENIED, ''), shown);
  const code = codes[status] ?? (status >= 500 ? 'store-failed' : 'bad-request');
  const quoted = said === '' || said.startsWith('<') ? '' : `: "${said}"`;
  const allowed = /^bytes \*\/(\d+)$/.exec(contentRange ?? '')?.[1];
  return new HawserError(code, `${shown} answered ${status}${quoted}.`, {
    details: {
      status,
      ...(allowed === undefined ? {} : { allowed }),
      ...(status === 404 ? { next: 'Check the URL: it is https://HOST:54322/images/TICKET.' } : {}),
    },
  });
}

/** Nobody answered. */
export function errorOfSilence({ url, socketPath, shown }: TransferUrl, cause: unknown): HawserError {
  if (cause instanceof HawserError) return cause;
  if (socketPath === undefined) return errorOfConnection(url, cause);
  const why = cause instanceof Error ? cause.message : String(cause);
  return new HawserError('unavailable', `No answer from ${shown}: ${why}.`, {
    cause,
    details: { network: true, next: 'Check that the server runs, and that you may use its socket.' },
  });
}

const codes: Readonly<Record<number, ErrorCode>> = {
  401: 'unauthenticated',
  404: 'not-found',
  405: 'unsupported',
  416: 'out-of-range',
  429: 'too-many',
  502: 'unavailable',
  503: 'unavailable',
  504: 'unavailable',
};

function deniedError(reason: string, shown: string): HawserError {
  const again = 'Ask for a new ticket, and run the same command with it.';
  const details = (next: string) => ({ details: { status: 403, next } });
  if (/^No such ticket/i.test(reason)) {
    return new HawserError(
      'not-found',
      `The ticket is not known at ${shown}: it was removed, or never there.`,
      details(again),
    );
  }
  if (/ expired$/.test(reason)) {
    return new HawserError(
      'expired',
      `The ticket has expired (${reason}).`,
      details('Have it extended (hawser ticket extend, on its host) or ask for a new one; then run the same command.'),
    );
  }
  if (/ was canceled$/.test(reason)) {
    return new HawserError('cancelled', `The ticket was cancelled (${reason}).`, details(again));
  }
  if (/ forbids write$/.test(reason)) return readOnlyError();
  return new HawserError('forbidden', `${shown} refuses it: ${reason || '403'}.`, details(again));
}

/** The ticket is for reading. */
export function readOnlyError(): HawserError {
  return new HawserError('forbidden', 'The ticket is for reading only: nothing can be uploaded with it.', {
    details: { status: 403, next: 'Ask for a ticket that may write.' },
  });
}

function noTransferUrl(text: string): HawserError {
  const scheme = /^[a-z]+:/i.exec(text)?.[0] ?? '';
  return new HawserError(
    'bad-request',
    `This ${scheme} URL is not the transfer URL of a ticket: https://HOST:54322/images/TICKET, http://…, or unix:/PATH/OF.sock:/images/TICKET.`,
    { details: { next: 'Other URLs are fetched by a storage host: hawser import URL.' } },
  );
}

function urlOf(text: string): URL | undefined {
  try {
    return new URL(text);
  } catch {
    return undefined;
  }
}
