// Plain JavaScript: a worker that has to strip types takes ten MiB more. Types and meaning: blkhash.ts.
import { createHash } from 'node:crypto';
import { parentPort } from 'node:worker_threads';
import { createBLAKE2b } from 'hash-wasm';

/** hashlib's name to OpenSSL's, where they differ. */
const names = {
  blake2s: 'blake2s256',
  sha3_224: 'sha3-224',
  sha3_256: 'sha3-256',
  sha3_384: 'sha3-384',
  sha3_512: 'sha3-512',
  sha512_224: 'sha512-224',
  sha512_256: 'sha512-256',
  shake_128: 'shake128',
  shake_256: 'shake256',
};

/** @type {Map<number, Uint8Array>} */
const slabs = new Map();
/** Blocks that have begun, by id: the zeros they began with, and the hash once there was something else. */
const blocks = new Map();
/** Outer digests that have begun, by id. */
const outers = new Map();
/** Digest of a block of zeros, by algorithm and length. */
const zeroDigests = new Map();
/** BLAKE2b instances that nobody uses now; making one compiles. */
const spare = [];
const noughts = new Uint8Array(1024 * 1024);
let turn = Promise.resolve();

parentPort?.on('message', (request) => {
  // One after the other, also where one has to wait for a BLAKE2b.
  turn = turn.then(async () => {
    try {
      const digest = await serve(request);
      if ('id' in request) parentPort?.postMessage({ id: request.id, digest });
    } catch (error) {
      if ('id' in request) parentPort?.postMessage({ id: request.id, error: String(error) });
    }
  });
});

async function serve(request) {
  switch (request.kind) {
    case 'slab':
      slabs.set(request.slab, new Uint8Array(request.shared));
      return undefined;
    case 'piece':
      return addPiece(request);
    case 'zeros':
      return addZeros(blockOf(request), request.length);
    case 'block':
      return endBlock(request);
    case 'outer': {
      const outer = outers.get(request.outer) ?? (await newHash(request.algorithm));
      outers.set(request.outer, outer);
      for (let i = 0; i < request.count; i++) outer.update(request.digest);
      return undefined;
    }
    case 'digest': {
      const outer = outers.get(request.outer) ?? (await newHash(request.algorithm));
      outers.delete(request.outer);
      return outer.digest();
    }
    case 'drop':
      blocks.delete(request.block);
      outers.delete(request.outer);
      return undefined;
  }
}

function blockOf({ block }) {
  const begun = blocks.get(block) ?? { zeros: 0, hash: undefined };
  blocks.set(block, begun);
  return begun;
}

async function addPiece(request) {
  const block = blockOf(request);
  const bytes = slabs.get(request.slab)?.subarray(0, request.length);
  if (bytes === undefined) throw new Error(`slab ${request.slab} is not known here`);
  if (isZero(bytes)) return addZeros(block, bytes.length);
  if (block.hash === undefined) {
    block.hash = await newHash(request.algorithm);
    feedZeros(block.hash, block.zeros);
  }
  block.hash.update(bytes);
}

function addZeros(block, length) {
  if (block.hash === undefined) block.zeros += length;
  else feedZeros(block.hash, length);
}

async function endBlock(request) {
  const { hash, zeros } = blockOf(request);
  blocks.delete(request.block);
  return hash === undefined ? zeroDigest(request.algorithm, zeros) : hash.digest();
}

async function zeroDigest(algorithm, length) {
  const key = `${algorithm} ${length}`;
  const known = zeroDigests.get(key);
  if (known !== undefined) return known;
  const hash = await newHash(algorithm);
  feedZeros(hash, length);
  const digest = hash.digest();
  if (zeroDigests.size >= 100) zeroDigests.clear();
  zeroDigests.set(key, digest);
  return digest;
}

function feedZeros(hash, length) {
  for (let left = length; left > 0; left -= noughts.length) {
    hash.update(left < noughts.length ? noughts.subarray(0, left) : noughts);
  }
}

/** OpenSSL has no BLAKE2b of 32 bytes, and the beginning of the longer one is another digest. */
async function newHash(algorithm) {
  if (algorithm !== 'blake2b') {
    const options = algorithm.startsWith('shake_') ? { outputLength: 32 } : undefined;
    return createHash(names[algorithm] ?? algorithm, options);
  }
  const hash = spare.pop() ?? (await createBLAKE2b(256));
  hash.init();
  return {
    update: (bytes) => hash.update(bytes),
    digest: () => {
      const digest = hash.digest('binary');
      spare.push(hash);
      return digest;
    },
  };
}

function isZero(bytes) {
  const probe = Math.min(64, bytes.length);
  for (let i = 0; i < probe; i++) if (bytes[i] !== 0) return false;
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return buffer.length <= probe || buffer.compare(buffer, probe, buffer.length, 0, buffer.length - probe) === 0;
}
