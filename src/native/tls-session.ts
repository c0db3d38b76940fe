import { constants } from 'node:crypto';
import { DEFAULT_MIN_VERSION } from 'node:tls';
import { failureOf, type Handle, type OpenSsl, openSsl } from './openssl.ts';

/**
 * TLS on data that we carry to and fro. Unlike the session in a `TLSSocket` this one can be read by another thread,
 * straight from the connection. One thread at a time may touch it.
 */
export interface TlsSession extends Disposable {
  /** Address of the SSL object, for a thread that reads while the owner does not touch it. */
  readonly address: bigint;
  /** Goes on with the handshake as far as that goes; true when it is done. Throws what is wrong. */
  handshake(): boolean;
  /** DER of what was shown; nobody has looked at it. */
  peerCertificate(): Buffer;
  /** Bytes from the connection. */
  feed(bytes: Uint8Array): void;
  /** Bytes for the connection. */
  outgoing(): Buffer;
  /** The same, as much as there is room for; how many. */
  takeOutgoing(into: Uint8Array): number;
  write(bytes: Uint8Array): void;
  /** Bytes of the content; 0 when more must be fed; null at its end. Throws what is wrong. */
  read(into: Uint8Array): number | null;
  /** Says goodbye. */
  end(): void;
  /** Everything that was fed has been read: from now on it reads from this descriptor by itself, until undefined is given. */
  readFrom(fd: number | undefined): void;
}

/** PEM: the certificate with those that lead to its authority, and its private key. */
export interface ServerKeys {
  readonly cert: string;
  readonly key: string;
}

// <openssl/ssl.h>, <openssl/bio.h>, <openssl/tls1.h>
const SSL_CTRL_EXTRA_CHAIN_CERT = 14;
const SSL_CTRL_MODE = 33;
const SSL_CTRL_SET_READ_AHEAD = 41;
const SSL_CTRL_SET_TLSEXT_HOSTNAME = 55;
const SSL_CTRL_SET_MIN_PROTO_VERSION = 123;
const SSL_MODE_RELEASE_BUFFERS = 0x10;
const SSL_OP_CIPHER_SERVER_PREFERENCE = 1n << 22n;
const SSL_OP_NO_RENEGOTIATION = 1n << 30n;
const VERSIONS = { 'TLSv1.2': 0x0303, 'TLSv1.3': 0x0304 };
const SSL_ERROR_WANT_READ = 2;
const SSL_ERROR_ZERO_RETURN = 6;
const BIO_CTRL_PENDING = 10;
const BIO_C_SET_BUF_MEM_EOF_RETURN = 130;
const BIO_NOCLOSE = 0;
/** Read from the connection at once; records have 16 KiB. mover-worker.js counts with it. */
const READ_AHEAD = 128 * 1024;

/** Makes sessions of a client; `name` is what the server is asked for, none for an address. */
export type TlsClient = (name: string | undefined) => TlsSession;

/** Undefined where this program has no such functions. */
export function tlsClient(): TlsClient | undefined {
  const library = openSsl();
  if (library === undefined) return undefined;
  clients ??= newContext(library, library.call.TLS_client_method());
  const context = clients;
  return (name) => {
    const session = new Session(library, context);
    session.beClient(name);
    return session;
  };
}

let clients: Handle | undefined;

/**
 * Makes sessions of a server: TLS 1.2 and later, node's own ciphers in the server's order, no renegotiation, no client
 * certificates. Undefined where this program has no such functions, or cannot use these keys: node's own TLS says why.
 */
export function tlsServer(keys: ServerKeys): (() => TlsSession) | undefined {
  const library = openSsl();
  if (library === undefined) return undefined;
  const { call } = library;
  const context = newContext(library, call.TLS_server_method());
  call.SSL_CTX_set_options(context, SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_NO_RENEGOTIATION);
  if (!setCiphers(library, context) || !takeKeys(library, context, keys)) {
    call.ERR_clear_error();
    call.SSL_CTX_free(context);
    return undefined;
  }
  return () => {
    const session = new Session(library, context);
    session.beServer();
    return session;
  };
}

function newContext({ call }: OpenSsl, method: Handle): Handle {
  const context = call.SSL_CTX_new(method);
  if (context === 0) throw new Error('OpenSSL has no memory');
  const least = DEFAULT_MIN_VERSION === 'TLSv1.3' ? VERSIONS['TLSv1.3'] : VERSIONS['TLSv1.2'];
  call.SSL_CTX_ctrl(context, SSL_CTRL_SET_MIN_PROTO_VERSION, least, 0);
  // A connection that says nothing keeps no buffers.
  call.SSL_CTX_ctrl(context, SSL_CTRL_MODE, SSL_MODE_RELEASE_BUFFERS, 0);
  call.SSL_CTX_ctrl(context, SSL_CTRL_SET_READ_AHEAD, 1, 0);
  call.SSL_CTX_set_default_read_buffer_len(context, READ_AHEAD);
  return context;
}

/** As node does: those of TLS 1.3 are set by another function. */
function setCiphers({ call }: OpenSsl, context: Handle): boolean {
  const names = constants.defaultCipherList.split(':');
  const later = names.filter((name) => name.startsWith('TLS_'));
  const earlier = names.filter((name) => !name.startsWith('TLS_'));
  return (
    call.SSL_CTX_set_ciphersuites(context, later.join(':')) === 1 &&
    call.SSL_CTX_set_cipher_list(context, earlier.join(':')) === 1
  );
}

function takeKeys(library: OpenSsl, context: Handle, { cert, key }: ServerKeys): boolean {
  const { call } = library;
  const [own, ...chain] = certificatesOf(library, cert);
  // The empty text is the password: it never asks at the terminal.
  const secret = fromPem(library, key, (bio) => call.PEM_read_bio_PrivateKey(bio, null, null, ''));
  try {
    if (own === undefined || secret === 0) return false;
    if (call.SSL_CTX_use_certificate(context, own) !== 1 || call.SSL_CTX_use_PrivateKey(context, secret) !== 1)
      return false;
    // The context owns what leads to the authority.
    for (const issuer of chain.splice(0)) call.SSL_CTX_ctrl(context, SSL_CTRL_EXTRA_CHAIN_CERT, 0, issuer);
    return call.SSL_CTX_check_private_key(context) === 1;
  } finally {
    for (const left of [own ?? 0, ...chain]) call.X509_free(left);
    call.EVP_PKEY_free(secret);
  }
}

function certificatesOf(library: OpenSsl, pem: string): Handle[] {
  return fromPem(library, pem, (bio) => {
    const found: Handle[] = [];
    for (;;) {
      const certificate = library.call.PEM_read_bio_X509(bio, null, null, null);
      if (certificate === 0) break;
      found.push(certificate);
    }
    // That there is no other one is an error too.
    library.call.ERR_clear_error();
    return found;
  });
}

function fromPem<Result>({ call }: OpenSsl, pem: string, read: (bio: Handle) => Result): Result {
  const bytes = Buffer.from(pem);
  const bio = call.BIO_new(call.BIO_s_mem());
  try {
    call.BIO_write(bio, bytes, bytes.length);
    return read(bio);
  } finally {
    call.BIO_free(bio);
  }
}

class Session implements TlsSession {
  readonly #openSsl: OpenSsl;
  readonly #ssl: Handle;
  #incoming: Handle;
  readonly #outgoing: Handle;
  /** What is called afterwards must not reach OpenSSL: the memory is somebody else's. */
  #freed = false;

  constructor(library: OpenSsl, context: Handle) {
    const { call } = library;
    this.#openSsl = library;
    this.#ssl = call.SSL_new(context);
    this.#incoming = this.#memory();
    this.#outgoing = this.#memory();
    if (this.#ssl === 0 || this.#incoming === 0 || this.#outgoing === 0) throw new Error('OpenSSL has no memory');
    call.SSL_set0_rbio(this.#ssl, this.#incoming);
    call.SSL_set0_wbio(this.#ssl, this.#outgoing);
  }

  beClient(name: string | undefined): void {
    const { call } = this.#openSsl;
    call.SSL_set_connect_state(this.#ssl);
    if (name !== undefined) call.SSL_ctrl(this.#ssl, SSL_CTRL_SET_TLSEXT_HOSTNAME, 0, name);
  }

  beServer(): void {
    this.#openSsl.call.SSL_set_accept_state(this.#ssl);
  }

  get address(): bigint {
    return BigInt(this.#ssl);
  }

  handshake(): boolean {
    this.#mustLive();
    this.#openSsl.call.ERR_clear_error();
    const result = this.#openSsl.call.SSL_do_handshake(this.#ssl);
    if (result === 1) return true;
    if (this.#error(result) === SSL_ERROR_WANT_READ) return false;
    throw this.#failure('handshake');
  }

  peerCertificate(): Buffer {
    this.#mustLive();
    const { call, addressOf } = this.#openSsl;
    const certificate = call.SSL_get1_peer_certificate(this.#ssl);
    if (certificate === 0) return Buffer.alloc(0);
    const der = Buffer.alloc(call.i2d_X509(certificate, null));
    call.i2d_X509(certificate, BigUint64Array.of(addressOf(der)));
    call.X509_free(certificate);
    return der;
  }

  feed(bytes: Uint8Array): void {
    if (bytes.length > 0 && !this.#freed) this.#openSsl.call.BIO_write(this.#incoming, bytes, bytes.length);
  }

  outgoing(): Buffer {
    if (this.#freed) return Buffer.alloc(0);
    const { call } = this.#openSsl;
    const bytes = Buffer.allocUnsafeSlow(call.BIO_ctrl(this.#outgoing, BIO_CTRL_PENDING, 0, null));
    if (bytes.length > 0) call.BIO_read(this.#outgoing, bytes, bytes.length);
    return bytes;
  }

  takeOutgoing(into: Uint8Array): number {
    if (this.#freed) return 0;
    return Math.max(0, this.#openSsl.call.BIO_read(this.#outgoing, into, into.length));
  }

  write(bytes: Uint8Array): void {
    if (bytes.length === 0) return;
    this.#mustLive();
    this.#openSsl.call.ERR_clear_error();
    if (this.#openSsl.call.SSL_write(this.#ssl, bytes, bytes.length) <= 0) throw this.#failure('write');
  }

  read(into: Uint8Array): number | null {
    if (this.#freed) return null;
    this.#openSsl.call.ERR_clear_error();
    const result = this.#openSsl.call.SSL_read(this.#ssl, into, into.length);
    if (result > 0) return result;
    const error = this.#error(result);
    if (error === SSL_ERROR_WANT_READ) return 0;
    if (error === SSL_ERROR_ZERO_RETURN) return null;
    throw this.#failure('read');
  }

  end(): void {
    if (this.#freed) return;
    this.#openSsl.call.ERR_clear_error();
    this.#openSsl.call.SSL_shutdown(this.#ssl);
  }

  readFrom(fd: number | undefined): void {
    this.#mustLive();
    // The one before is freed.
    this.#incoming = fd === undefined ? this.#memory() : this.#openSsl.call.BIO_new_socket(fd, BIO_NOCLOSE);
    this.#openSsl.call.SSL_set0_rbio(this.#ssl, this.#incoming);
  }

  [Symbol.dispose](): void {
    if (this.#freed) return;
    this.#freed = true;
    this.#openSsl.call.SSL_free(this.#ssl);
  }

  #mustLive(): void {
    if (this.#freed) throw new Error('The TLS session has ended.');
  }

  /** That it is empty means that more will come. */
  #memory(): Handle {
    const { call } = this.#openSsl;
    const memory = call.BIO_new(call.BIO_s_mem());
    if (memory !== 0) call.BIO_ctrl(memory, BIO_C_SET_BUF_MEM_EOF_RETURN, -1, null);
    return memory;
  }

  #error(result: number): number {
    return this.#openSsl.call.SSL_get_error(this.#ssl, result);
  }

  #failure(what: string): Error {
    return failureOf(this.#openSsl, what);
  }
}
