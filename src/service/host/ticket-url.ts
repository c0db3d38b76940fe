import { HawserError } from '../../core/errors.ts';

/** What the URL of a ticket names. */
export type TicketUrl =
  | { readonly kind: 'file'; readonly path: string }
  | { readonly kind: 'nbd-unix'; readonly path: string; readonly exportName: string }
  | { readonly kind: 'nbd-tcp'; readonly host: string; readonly port: number; readonly exportName: string };

const NBD_PORT = 10_809;

/**
 * `file:///path` (not percent-decoded, as vdsm writes it), QEMU's `nbd:unix:/socket[:exportname=NAME]` and
 * `nbd:HOST:PORT[:exportname=NAME]`, and `nbd://HOST[:PORT][/NAME]`. Throws `unsupported`, `bad-request`.
 */
export function parseTicketUrl(url: string): TicketUrl {
  const scheme = /^([a-z][a-z0-9+.-]*):/i.exec(url)?.[1]?.toLowerCase();
  const parsed = scheme === 'file' ? fileUrl(url) : scheme === 'nbd' ? (nbdUri(url) ?? nbdWords(url)) : undefined;
  if (parsed !== undefined) return parsed;
  if (scheme === 'file' || scheme === 'nbd') {
    throw new HawserError(
      'bad-request',
      'It must be file:///PATH, nbd:unix:/SOCKET[:exportname=NAME], nbd:HOST:PORT[:exportname=NAME] or nbd://HOST[:PORT][/NAME].',
    );
  }
  throw new HawserError('unsupported', 'Only file: and nbd: can be opened here.');
}

function fileUrl(url: string): TicketUrl | undefined {
  const path = /^file:(?:\/\/[^/]*)?(\/[^\0]*)$/is.exec(url)?.[1];
  return path === undefined ? undefined : { kind: 'file', path };
}

function nbdUri(url: string): TicketUrl | undefined {
  const match = /^nbd:\/\/(\[[0-9a-f:.%]+\]|[^/:[\]]+)(?::(\d{1,5}))?(?:\/(.*))?$/is.exec(url);
  const host = match?.[1]?.replace(/^\[|\]$/g, '');
  const port = Number(match?.[2] ?? NBD_PORT);
  if (host === undefined || port < 1 || port > 65_535) return undefined;
  return { kind: 'nbd-tcp', host, port, exportName: decoded(match?.[3] ?? '') };
}

function nbdWords(url: string): TicketUrl | undefined {
  const [, where, name = ''] = /^nbd:(.*?)(?::exportname=(.*))?$/is.exec(url) ?? [];
  const socket = /^unix:(\/[^\0]*)$/s.exec(where ?? '')?.[1];
  if (socket !== undefined) return { kind: 'nbd-unix', path: socket, exportName: name };
  const tcp = /^(\[[0-9a-f:.%]+\]|[^/:[\]]+):(\d{1,5})$/i.exec(where ?? '');
  const host = tcp?.[1]?.replace(/^\[|\]$/g, '');
  const port = Number(tcp?.[2]);
  return host === undefined || port < 1 || port > 65_535
    ? undefined
    : { kind: 'nbd-tcp', host, port, exportName: name };
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text; // it was no escape
  }
}
