import { createRequire } from 'node:module';
import { DEFAULT_MIN_VERSION } from 'node:tls';
import { libc } from './libc.ts';

/**
 * TLS as a client with the OpenSSL that node's program contains and shows to addons: documented functions of OpenSSL 3,
 * on data that we carry to and fro. Unlike the session in a `TLSSocket` this one can be read by another thread,
 * straight from the connection. Certificates are not looked at here: its owner must compare the one that was shown.
 */
export interface TlsSession extends Disposable {
  /** Address of the SSL object, for a thread that reads while the owner does not touch it. */
  readonly address: bigint;
  /** Goes on with the handshake as far as that goes; true when it is done. Throws what is wrong. */
  handshake(): boolean;
  /** DER of what was shown. */
  peerCertificate(): Buffer;
  /** Bytes from the connection. */
  feed(bytes: Uint8Array): void;
  /** Bytes for the connection. */
  outgoing(): Buffer;
  write(bytes: Uint8Array): void;
  /** Bytes of the content; 0 when more must be fed; null at its end. Throws what is wrong. */
  read(into: Uint8Array): number | null;
  /** Says goodbye. */
  end(): void;
  /** Everything that was fed has been read: from now on it reads from this descriptor by itself, until undefined is given. */
  readFrom(fd: number | undefined): void;
}

/** Makes sessions; `name` is what the server is asked for, none for an address. */
export type TlsClient = (name: string | undefined) => TlsSession;

/** Undefined where this program has no such functions. */
export function tlsClient(): TlsClient | undefined {
  loaded ??= { library: load() };
  const { library } = loaded;
  return library && ((name) => new Session(library, name));
}

let loaded: { readonly library: Library | undefined } | undefined;

/** Handles of OpenSSL. Below 2^47, so numbers hold them. */
type Handle = number;
type Call<Result = number> = (...args: readonly (Handle | Uint8Array | BigUint64Array | string | null)[]) => Result;

interface Library {
  readonly context: Handle;
  readonly call: Readonly<Record<keyof typeof declarations, Call>>;
  readonly addressOf: (bytes: Uint8Array) => bigint;
}

const declarations = {
  TLS_client_method: 'uintptr_t TLS_client_method()',
  SSL_CTX_new: 'uintptr_t SSL_CTX_new(uintptr_t method)',
  SSL_CTX_ctrl: 'long SSL_CTX_ctrl(uintptr_t context, int command, long number, void *pointer)',
  SSL_CTX_set_default_read_buffer_len: 'void SSL_CTX_set_default_read_buffer_len(uintptr_t context, size_t length)',
  SSL_new: 'uintptr_t SSL_new(uintptr_t context)',
  SSL_free: 'void SSL_free(uintptr_t ssl)',
  SSL_ctrl: 'long SSL_ctrl(uintptr_t ssl, int command, long number, const char *text)',
  SSL_set_connect_state: 'void SSL_set_connect_state(uintptr_t ssl)',
  SSL_set0_rbio: 'void SSL_set0_rbio(uintptr_t ssl, uintptr_t bio)',
  SSL_set0_wbio: 'void SSL_set0_wbio(uintptr_t ssl, uintptr_t bio)',
  SSL_do_handshake: 'int SSL_do_handshake(uintptr_t ssl)',
  SSL_read: 'int SSL_read(uintptr_t ssl, void *into, int length)',
  SSL_write: 'int SSL_write(uintptr_t ssl, const void *bytes, int length)',
  SSL_shutdown: 'int SSL_shutdown(uintptr_t ssl)',
  SSL_get_error: 'int SSL_get_error(uintptr_t ssl, int result)',
  SSL_get1_peer_certificate: 'uintptr_t SSL_get1_peer_certificate(uintptr_t ssl)',
  i2d_X509: 'int i2d_X509(uintptr_t certificate, void *out)',
  X509_free: 'void X509_free(uintptr_t certificate)',
  BIO_s_mem: 'uintptr_t BIO_s_mem()',
  BIO_new: 'uintptr_t BIO_new(uintptr_t method)',
  BIO_new_socket: 'uintptr_t BIO_new_socket(int fd, int close)',
  BIO_ctrl: 'long BIO_ctrl(uintptr_t bio, int command, long number, void *pointer)',
  BIO_read: 'int BIO_read(uintptr_t bio, void *into, int length)',
  BIO_write: 'int BIO_write(uintptr_t bio, const void *bytes, int length)',
  ERR_clear_error: 'void ERR_clear_error()',
  ERR_get_error: 'unsigned long ERR_get_error()',
  ERR_error_string_n: 'void ERR_error_string_n(unsigned long code, void *into, size_t length)',
} as const;

// <openssl/ssl.h>, <openssl/bio.h>, <openssl/tls1.h>
const SSL_CTRL_SET_READ_AHEAD = 41;
const SSL_CTRL_SET_TLSEXT_HOSTNAME = 55;
const SSL_CTRL_SET_MIN_PROTO_VERSION = 123;
const VERSIONS = { 'TLSv1.2': 0x0303, 'TLSv1.3': 0x0304 };
const SSL_ERROR_WANT_READ = 2;
const SSL_ERROR_ZERO_RETURN = 6;
const BIO_CTRL_PENDING = 10;
const BIO_C_SET_BUF_MEM_EOF_RETURN = 130;
const BIO_NOCLOSE = 0;
/** Read from the connection at once; records have 16 KiB. mover-worker.js counts with it. */
const READ_AHEAD = 128 * 1024;

function load(): Library | undefined {
  if (libc() === undefined || !/^3\./.test(process.versions.openssl)) return undefined;
  try {
    const koffi: typeof import('koffi') = createRequire(import.meta.url)('koffi');
    const library = koffi.load(null);
    const call = Object.fromEntries(
      Object.entries(declarations).map(([name, declaration]) => [name, library.func(declaration)]),
    ) as unknown as Library['call'];
    const context = call.SSL_CTX_new(call.TLS_client_method());
    if (context === 0) return undefined;
    const least = DEFAULT_MIN_VERSION === 'TLSv1.3' ? VERSIONS['TLSv1.3'] : VERSIONS['TLSv1.2'];
    call.SSL_CTX_ctrl(context, SSL_CTRL_SET_MIN_PROTO_VERSION, least, null);
    call.SSL_CTX_ctrl(context, SSL_CTRL_SET_READ_AHEAD, 1, null);
    call.SSL_CTX_set_default_read_buffer_len(context, READ_AHEAD);
    return { context, call, addressOf: (bytes) => BigInt(koffi.address(bytes)) };
  } catch {
    // A node that has its OpenSSL elsewhere: TLS goes through TLSSocket then.
    return undefined;
  }
}

class Session implements TlsSession {
  readonly #library: Library;
  readonly #ssl: Handle;
  #incoming: Handle;
  readonly #outgoing: Handle;
  /** What is called afterwards must not reach OpenSSL: the memory is somebody else's. */
  #freed = false;

  constructor(library: Library, name: string | undefined) {
    const { call, context } = library;
    this.#library = library;
    this.#ssl = call.SSL_new(context);
    this.#incoming = this.#memory();
    this.#outgoing = this.#memory();
    if (this.#ssl === 0 || this.#incoming === 0 || this.#outgoing === 0) throw new Error('OpenSSL has no memory');
    call.SSL_set0_rbio(this.#ssl, this.#incoming);
    call.SSL_set0_wbio(this.#ssl, this.#outgoing);
    call.SSL_set_connect_state(this.#ssl);
    if (name !== undefined) call.SSL_ctrl(this.#ssl, SSL_CTRL_SET_TLSEXT_HOSTNAME, 0, name);
  }

  get address(): bigint {
    return BigInt(this.#ssl);
  }

  handshake(): boolean {
    this.#mustLive();
    this.#library.call.ERR_clear_error();
    const result = this.#library.call.SSL_do_handshake(this.#ssl);
    if (result === 1) return true;
    if (this.#error(result) === SSL_ERROR_WANT_READ) return false;
    throw this.#failure('handshake');
  }

  peerCertificate(): Buffer {
    this.#mustLive();
    const { call, addressOf } = this.#library;
    const certificate = call.SSL_get1_peer_certificate(this.#ssl);
    if (certificate === 0) return Buffer.alloc(0);
    const der = Buffer.alloc(call.i2d_X509(certificate, null));
    call.i2d_X509(certificate, BigUint64Array.of(addressOf(der)));
    call.X509_free(certificate);
    return der;
  }

  feed(bytes: Uint8Array): void {
    if (bytes.length > 0 && !this.#freed) this.#library.call.BIO_write(this.#incoming, bytes, bytes.length);
  }

  outgoing(): Buffer {
    if (this.#freed) return Buffer.alloc(0);
    const { call } = this.#library;
    const bytes = Buffer.alloc(call.BIO_ctrl(this.#outgoing, BIO_CTRL_PENDING, 0, null));
    if (bytes.length > 0) call.BIO_read(this.#outgoing, bytes, bytes.length);
    return bytes;
  }

  write(bytes: Uint8Array): void {
    if (bytes.length === 0) return;
    this.#mustLive();
    this.#library.call.ERR_clear_error();
    if (this.#library.call.SSL_write(this.#ssl, bytes, bytes.length) <= 0) throw this.#failure('write');
  }

  read(into: Uint8Array): number | null {
    if (this.#freed) return null;
    this.#library.call.ERR_clear_error();
    const result = this.#library.call.SSL_read(this.#ssl, into, into.length);
    if (result > 0) return result;
    const error = this.#error(result);
    if (error === SSL_ERROR_WANT_READ) return 0;
    if (error === SSL_ERROR_ZERO_RETURN) return null;
    throw this.#failure('read');
  }

  end(): void {
    if (this.#freed) return;
    this.#library.call.ERR_clear_error();
    this.#library.call.SSL_shutdown(this.#ssl);
  }

  readFrom(fd: number | undefined): void {
    this.#mustLive();
    // The one before is freed.
    this.#incoming = fd === undefined ? this.#memory() : this.#library.call.BIO_new_socket(fd, BIO_NOCLOSE);
    this.#library.call.SSL_set0_rbio(this.#ssl, this.#incoming);
  }

  [Symbol.dispose](): void {
    if (this.#freed) return;
    this.#freed = true;
    this.#library.call.SSL_free(this.#ssl);
  }

  #mustLive(): void {
    if (this.#freed) throw new Error('The TLS session has ended.');
  }

  /** That it is empty means that more will come. */
  #memory(): Handle {
    const { call } = this.#library;
    const memory = call.BIO_new(call.BIO_s_mem());
    if (memory !== 0) call.BIO_ctrl(memory, BIO_C_SET_BUF_MEM_EOF_RETURN, -1, null);
    return memory;
  }

  #error(result: number): number {
    return this.#library.call.SSL_get_error(this.#ssl, result);
  }

  #failure(what: string): Error {
    const { call } = this.#library;
    const text = Buffer.alloc(256);
    call.ERR_error_string_n(call.ERR_get_error(), text, text.length);
    return new Error(`TLS ${what}: ${text.subarray(0, text.indexOf(0)).toString()}`);
  }
}
