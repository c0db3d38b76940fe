import type { Hashing } from '../../../src/client/ports.ts';

/**
 * crypto.subtle hashes on threads of the browser's own, but exists only in secure contexts (HTTPS or
 * localhost); over plain HTTP it is WebAssembly in this worker.
 */
export async function browserHashing(): Promise<Hashing> {
  const digest = globalThis.crypto?.subtle === undefined ? await wasmDigest() : subtleDigest;
  return {
    sha256: (views) => Promise.all(views.map(digest)),
    sha256Of: (parts) => digest(joined(parts)),
    allocate: (length) => new Uint8Array(length),
  };
}

type DigestOf = (bytes: Uint8Array) => Promise<Uint8Array>;

const subtleDigest: DigestOf = async (bytes) =>
  new Uint8Array(await crypto.subtle.digest('SHA-256', bytes as Uint8Array<ArrayBuffer>));

async function wasmDigest(): Promise<DigestOf> {
  const { createSHA256 } = await import('hash-wasm');
  const hasher = await createSHA256();
  return async (bytes) => hasher.init().update(bytes).digest('binary');
}

/** Leaves only: 32 bytes for each MiB of the file. */
function joined(parts: Iterable<Uint8Array>): Uint8Array {
  const all = [...parts];
  const whole = new Uint8Array(all.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of all) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}
