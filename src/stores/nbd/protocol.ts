/**
 * Numbers of the NBD protocol. Source: doc/proto.md of the NetworkBlockDevice project. All integers on the
 * wire are big-endian.
 */

/** The server's greeting: `NBDMAGIC`, then `IHAVEOPT` of the newstyle, then its handshake flags (u16). */
export const GREETING_BYTES = 18;
export const NBD_MAGIC = 0x4e42444d41474943n;
export const OPTION_MAGIC = 0x49484156454f5054n;
export const handshakeFlag = { fixedNewstyle: 1, noZeroes: 2 } as const;

export const option = {
  abort: 2,
  startTls: 5,
  go: 7,
  structuredReply: 8,
  listMetaContext: 9,
  setMetaContext: 10,
} as const;

/** u64 magic, u32 option, u32 type, u32 length. */
export const OPTION_REPLY_BYTES = 20;
export const OPTION_REPLY_MAGIC = 0x3e889045565a9n;
export const optionReply = { ack: 1, info: 3, metaContext: 4, error: 0x8000_0000 } as const;
export const info = { export: 0, blockSize: 3 } as const;

/** What an option reply may say when it is an error, beside the number that is shown. */
export const optionErrors: ReadonlyMap<number, string> = new Map([
  [1, 'it does not know this option'],
  [2, 'its policy forbids it'],
  [3, 'it found the request invalid'],
  [4, 'it cannot do it on this platform'],
  [5, 'it wants TLS first'],
  [6, 'it has no such export'],
  [7, 'it is shutting down'],
  [8, 'it wants its block sizes to be asked for'],
  [9, 'the request was too large for it'],
]);

export const exportFlag = {
  readOnly: 1 << 1,
  flush: 1 << 2,
  fua: 1 << 3,
  trim: 1 << 5,
  writeZeroes: 1 << 6,
  multiConn: 1 << 8,
  cache: 1 << 10,
  fastZero: 1 << 11,
} as const;

export const command = { read: 0, write: 1, disconnect: 2, flush: 3, trim: 4, cache: 5, zero: 6, status: 7 } as const;
export const commandFlag = { fua: 1 << 0, noHole: 1 << 1, fastZero: 1 << 4 } as const;

/** u32 magic, u16 flags, u16 command, u64 cookie, u64 offset, u32 length. */
export const REQUEST_BYTES = 28;
export const REQUEST_MAGIC = 0x25609513;

/** u32 magic, u32 error, u64 cookie. */
export const SIMPLE_REPLY_BYTES = 16;
export const SIMPLE_REPLY_MAGIC = 0x67446698;
/** u32 magic, u16 flags, u16 type, u64 cookie, u32 length. */
export const CHUNK_BYTES = 20;
export const CHUNK_MAGIC = 0x668e33ef;
export const CHUNK_DONE = 1;
export const chunk = { none: 0, data: 1, hole: 2, status: 5, error: 0x8001, errorOffset: 0x8002 } as const;

export const baseAllocation = { hole: 1, zero: 2 } as const;

export const errno = {
  perm: 1,
  io: 5,
  nomem: 12,
  inval: 22,
  nospc: 28,
  overflow: 75,
  notsup: 95,
  shutdown: 108,
} as const;

export interface Request {
  readonly command: number;
  readonly flags: number;
  readonly cookie: number;
  readonly offset: number;
  readonly length: number;
}

export function encodeRequest({ command: type, flags, cookie, offset, length }: Request): Buffer {
  const bytes = Buffer.allocUnsafe(REQUEST_BYTES);
  bytes.writeUInt32BE(REQUEST_MAGIC, 0);
  bytes.writeUInt16BE(flags, 4);
  bytes.writeUInt16BE(type, 6);
  bytes.writeUInt32BE(COOKIE_HIGH, 8);
  bytes.writeUInt32BE(cookie, 12);
  bytes.writeBigUInt64BE(BigInt(offset), 16);
  bytes.writeUInt32BE(length, 24);
  return bytes;
}

/** The upper half of every cookie of ours, so that a reply that has another one is not ours. */
export const COOKIE_HIGH = 0x48574e42;

export function encodeOption(kind: number, data: Uint8Array): Buffer {
  const bytes = Buffer.alloc(16 + data.length);
  bytes.writeBigUInt64BE(OPTION_MAGIC, 0);
  bytes.writeUInt32BE(kind, 8);
  bytes.writeUInt32BE(data.length, 12);
  bytes.set(data, 16);
  return bytes;
}

/** NBD_OPT_GO: the name and the pieces of information that are wanted. */
export function encodeGo(exportName: string): Buffer {
  const name = lengthPrefixed(exportName);
  const wanted = Buffer.alloc(4);
  wanted.writeUInt16BE(1, 0);
  wanted.writeUInt16BE(info.blockSize, 2);
  return encodeOption(option.go, Buffer.concat([name, wanted]));
}

/** `kind` is listMetaContext or setMetaContext. */
export function encodeMetaContexts(kind: number, exportName: string, contexts: readonly string[]): Buffer {
  const count = Buffer.alloc(4);
  count.writeUInt32BE(contexts.length);
  return encodeOption(kind, Buffer.concat([lengthPrefixed(exportName), count, ...contexts.map(lengthPrefixed)]));
}

function lengthPrefixed(text: string): Buffer {
  const bytes = Buffer.from(text, 'utf8');
  const length = Buffer.alloc(4);
  length.writeUInt32BE(bytes.length);
  return Buffer.concat([length, bytes]);
}
