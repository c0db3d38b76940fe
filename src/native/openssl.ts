import { createRequire } from 'node:module';
import { libc } from './libc.ts';

/** Handles of OpenSSL. Below 2^47, so numbers hold them. */
export type Handle = number;
type Call<Result = number> = (
  ...args: readonly (Handle | bigint | Uint8Array | BigUint64Array | string | null)[]
) => Result;

/** Documented functions of the OpenSSL 3 that node's program contains and shows to addons. */
export interface OpenSsl {
  readonly call: Readonly<Record<keyof typeof declarations, Call>>;
  readonly addressOf: (bytes: Uint8Array) => bigint;
}

const declarations = {
  TLS_client_method: 'uintptr_t TLS_client_method()',
  TLS_server_method: 'uintptr_t TLS_server_method()',
  SSL_CTX_new: 'uintptr_t SSL_CTX_new(uintptr_t method)',
  SSL_CTX_ctrl: 'long SSL_CTX_ctrl(uintptr_t context, int command, long number, uintptr_t pointer)',
  SSL_CTX_free: 'void SSL_CTX_free(uintptr_t context)',
  SSL_CTX_set_options: 'uint64_t SSL_CTX_set_options(uintptr_t context, uint64_t options)',
  SSL_CTX_set_cipher_list: 'int SSL_CTX_set_cipher_list(uintptr_t context, const char *names)',
  SSL_CTX_set_ciphersuites: 'int SSL_CTX_set_ciphersuites(uintptr_t context, const char *names)',
  SSL_CTX_use_certificate: 'int SSL_CTX_use_certificate(uintptr_t context, uintptr_t certificate)',
  SSL_CTX_use_PrivateKey: 'int SSL_CTX_use_PrivateKey(uintptr_t context, uintptr_t key)',
  SSL_CTX_check_private_key: 'int SSL_CTX_check_private_key(uintptr_t context)',
  SSL_CTX_set_default_read_buffer_len: 'void SSL_CTX_set_default_read_buffer_len(uintptr_t context, size_t length)',
  SSL_new: 'uintptr_t SSL_new(uintptr_t context)',
  SSL_free: 'void SSL_free(uintptr_t ssl)',
  SSL_ctrl: 'long SSL_ctrl(uintptr_t ssl, int command, long number, const char *text)',
  SSL_set_connect_state: 'void SSL_set_connect_state(uintptr_t ssl)',
  SSL_set_accept_state: 'void SSL_set_accept_state(uintptr_t ssl)',
  SSL_set0_rbio: 'void SSL_set0_rbio(uintptr_t ssl, uintptr_t bio)',
  SSL_set0_wbio: 'void SSL_set0_wbio(uintptr_t ssl, uintptr_t bio)',
  SSL_do_handshake: 'int SSL_do_handshake(uintptr_t ssl)',
  SSL_read: 'int SSL_read(uintptr_t ssl, void *into, int length)',
  SSL_write: 'int SSL_write(uintptr_t ssl, const void *bytes, int length)',
  SSL_shutdown: 'int SSL_shutdown(uintptr_t ssl)',
  SSL_get_error: 'int SSL_get_error(uintptr_t ssl, int result)',
  SSL_get1_peer_certificate: 'uintptr_t SSL_get1_peer_certificate(uintptr_t ssl)',
  PEM_read_bio_X509: 'uintptr_t PEM_read_bio_X509(uintptr_t bio, void *x, void *password, void *u)',
  PEM_read_bio_PrivateKey: 'uintptr_t PEM_read_bio_PrivateKey(uintptr_t bio, void *x, void *password, const char *u)',
  EVP_PKEY_free: 'void EVP_PKEY_free(uintptr_t key)',
  i2d_X509: 'int i2d_X509(uintptr_t certificate, void *out)',
  X509_free: 'void X509_free(uintptr_t certificate)',
  BIO_s_mem: 'uintptr_t BIO_s_mem()',
  BIO_new: 'uintptr_t BIO_new(uintptr_t method)',
  BIO_free: 'int BIO_free(uintptr_t bio)',
  BIO_new_socket: 'uintptr_t BIO_new_socket(int fd, int close)',
  BIO_ctrl: 'long BIO_ctrl(uintptr_t bio, int command, long number, void *pointer)',
  BIO_read: 'int BIO_read(uintptr_t bio, void *into, int length)',
  BIO_write: 'int BIO_write(uintptr_t bio, const void *bytes, int length)',
  ERR_clear_error: 'void ERR_clear_error()',
  ERR_get_error: 'unsigned long ERR_get_error()',
  ERR_error_string_n: 'void ERR_error_string_n(unsigned long code, void *into, size_t length)',
} as const;

let loaded: { readonly library: OpenSsl | undefined } | undefined;

/** Undefined where this program has no such functions: TLS goes through node's own then. Loads on the first call. */
export function openSsl(): OpenSsl | undefined {
  loaded ??= { library: load() };
  return loaded.library;
}

/** What the library says of its last failure in this thread. */
export function failureOf({ call }: OpenSsl, what: string): Error {
  const text = Buffer.alloc(256);
  call.ERR_error_string_n(call.ERR_get_error(), text, text.length);
  return new Error(`TLS ${what}: ${text.subarray(0, text.indexOf(0)).toString()}`);
}

function load(): OpenSsl | undefined {
  if (libc() === undefined || !/^3\./.test(process.versions.openssl)) return undefined;
  try {
    const koffi: typeof import('koffi') = createRequire(import.meta.url)('koffi');
    const library = koffi.load(null);
    const call = Object.fromEntries(
      Object.entries(declarations).map(([name, declaration]) => [name, library.func(declaration)]),
    ) as unknown as OpenSsl['call'];
    return { call, addressOf: (bytes) => BigInt(koffi.address(bytes)) };
  } catch {
    // A node that has its OpenSSL elsewhere: TLS goes through TLSSocket then.
    return undefined;
  }
}
