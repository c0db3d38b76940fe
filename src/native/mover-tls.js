// Plain JavaScript, for workers. Reads what the session of tls-session.ts decrypts; its BIO is the connection itself.
import { createRequire } from 'node:module';

// <openssl/ssl.h>
const SSL_ERROR_WANT_READ = 2;

let calls;

/** As many bytes as there are now, at most all of `into`; 0 when the session is at its end or broken, undefined for none now. */
export function readTls(session, into) {
  calls ??= load();
  let got = 0;
  // A record, 16 KiB, at a time.
  while (got < into.length) {
    const read = calls.SSL_read(session, got === 0 ? into : into.subarray(got), into.length - got);
    if (read <= 0) {
      if (calls.SSL_get_error(session, read) === SSL_ERROR_WANT_READ) break;
      calls.ERR_clear_error();
      return got; // when it is asked again it says the same
    }
    got += read;
  }
  return got === 0 ? undefined : got;
}

function load() {
  const koffi = createRequire(import.meta.url)('koffi');
  const library = koffi.load(null);
  return {
    SSL_read: library.func('int SSL_read(uintptr_t ssl, void *into, int length)'),
    SSL_get_error: library.func('int SSL_get_error(uintptr_t ssl, int result)'),
    ERR_clear_error: library.func('void ERR_clear_error()'),
  };
}
