// Plain JavaScript, for workers. Writes through the session of tls-session.ts, whose output stays in its memory until
// it is sent: what is left there when the connection is given back, its owner sends.
import { createRequire } from 'node:module';

const MSG_DONTWAIT = 0x40;
/** <openssl/bio.h>: where the bytes lie. */
const BIO_CTRL_INFO = 3;

const koffi = createRequire(import.meta.url)('koffi');
const library = koffi.load(null);
const SSL_write = library.func('int SSL_write(uintptr_t ssl, const void *bytes, int length)');
const SSL_get_wbio = library.func('uintptr_t SSL_get_wbio(uintptr_t ssl)');
const BIO_ctrl = library.func('long BIO_ctrl(uintptr_t bio, int command, long number, void *pointer)');
const BIO_read = library.func('int BIO_read(uintptr_t bio, void *into, int length)');
const ERR_clear_error = library.func('void ERR_clear_error()');
const send = library.func('int64_t send(int fd, uintptr_t from, size_t length, int flags)');

const address = new BigUint64Array(1);
const sent = Buffer.alloc(256 * 1024);

/** All of it, into the session's memory; false when the session is broken. */
export function encrypt(session, bytes) {
  ERR_clear_error();
  return SSL_write(session, bytes, bytes.length) === bytes.length;
}

/** Sends what the session has for the connection, or some of it. Bytes; 0: it has nothing; negative as send(2) fails, with koffi's errno. */
export function sendEncrypted(session, socket) {
  const bio = SSL_get_wbio(session);
  const length = Number(BIO_ctrl(bio, BIO_CTRL_INFO, 0, address));
  if (length === 0) return 0;
  const got = Number(send(socket, address[0], length, MSG_DONTWAIT));
  for (let left = got; left > 0; left -= sent.length) BIO_read(bio, sent, Math.min(left, sent.length));
  return got;
}
