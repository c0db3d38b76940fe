// Plain JavaScript, for workers: one that has to strip types takes ten MiB more.
import { createHash, hash, randomFillSync } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';

const DIGEST = 32;
/** Bytes that one round of SHA-256 takes. */
const ROUND = 64;
/** Two short ones are not worth the calls. */
const WORTH_PAIRING = 16 * 1024;
/** Most bytes of one view; the function counts rounds in 32 bits. */
const LONGEST = 1024 * 1024 * 1024;
/** The state of the hash before anything came in (FIPS 180-4, 5.3.3). */
const FIRST = [0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19];

/** Undefined until the first call; null where it cannot be had. */
let pairs;

/**
 * SHA-256 of each view, in their order. Views that are equally long are hashed two at a time where that is
 * possible: the rounds of one SHA-256 wait for each other, those of two do not, and a core with SHA
 * instructions does two in 1.3 times the time of one.
 * @param {readonly Uint8Array[]} views
 * @returns {Uint8Array[]}
 */
export function sha256Each(views) {
  const digests = [];
  for (let i = 0; i < views.length; i++) {
    const pair =
      i + 1 < views.length && isPair(views[i], views[i + 1]) ? sha256Pair(views[i], views[i + 1]) : undefined;
    if (pair === undefined) digests.push(hash('sha256', views[i], 'buffer'));
    else {
      digests.push(...pair);
      i++;
    }
  }
  return digests;
}

/** Whether two views of such lengths are better hashed together. */
export function isPairOf(oneLength, otherLength) {
  return (
    oneLength === otherLength &&
    oneLength >= WORTH_PAIRING &&
    oneLength <= LONGEST &&
    oneLength % ROUND === 0 &&
    loaded() !== null
  );
}

function isPair(one, other) {
  return isPairOf(one.length, other.length);
}

function sha256Pair(one, other) {
  return loaded()?.(one, other);
}

function loaded() {
  if (pairs === undefined) pairs = load();
  return pairs;
}

/**
 * `sha256_multi_block` of OpenSSL, which TLS uses for several records at once: in OpenSSL since 1.0.2 (2014), with
 * SHA instructions too, and among the symbols that node's program shows to addons. It is not of OpenSSL's documented
 * interface, so it is taken only from versions that are known, and only after it has agreed with node:crypto.
 */
function load() {
  if (process.platform !== 'linux' || process.arch !== 'x64' || !/^3\./.test(process.versions.openssl)) return null;
  if (!hasShaInstructions()) return null;
  try {
    const koffi = createRequire(import.meta.url)('koffi');
    const library = koffi.load(null);
    const pair = bind(koffi, library.func('void sha256_multi_block(void *states, void *lanes, int fours)'));
    return agrees(pair) ? pair : null;
  } catch {
    // No koffi, or a node without the symbol: one after the other then.
    return null;
  }
}

/** Without them it takes four or eight at a time, and two are slower than one and one. */
function hasShaInstructions() {
  try {
    return /^flags\s*:.*\bsha_ni\b/m.test(readFileSync('/proc/cpuinfo', 'latin1'));
  } catch {
    return false;
  }
}

/** The function takes multiples of four lanes; those that have no rounds to do are passed over. */
const LANES = 4;
/** States lie word by word, eight lanes wide; a lane is an address and how many rounds follow there. */
const STATE_WIDTH = 8;
const LANE_BYTES = 16;

function bind(koffi, multiBlock) {
  const states = new Uint32Array(FIRST.length * STATE_WIDTH);
  const lanes = new BigUint64Array((LANES * LANE_BYTES) / 8);
  const end = Buffer.alloc(ROUND);
  const endAt = BigInt(koffi.address(end));
  const run = (addresses, rounds) => {
    for (const [lane, address] of addresses.entries()) {
      lanes[2 * lane] = address;
      lanes[2 * lane + 1] = BigInt(rounds);
    }
    multiBlock(states, lanes, 1);
  };
  return (one, other) => {
    for (const [word, value] of FIRST.entries()) states.fill(value, word * STATE_WIDTH, word * STATE_WIDTH + 2);
    run([BigInt(koffi.address(one)), BigInt(koffi.address(other))], one.length / ROUND);
    // FIPS 180-4, 5.1.1: a one, zeros, and the length in bits.
    end[0] = 0x80;
    end.writeBigUInt64BE(BigInt(one.length) * 8n, ROUND - 8);
    run([endAt, endAt], 1);
    return [0, 1].map((lane) => digestOf(states, lane));
  };
}

function digestOf(states, lane) {
  const digest = Buffer.alloc(DIGEST);
  for (let word = 0; word < FIRST.length; word++) digest.writeUInt32BE(states[word * STATE_WIDTH + lane], 4 * word);
  return digest;
}

function agrees(pair) {
  return [ROUND, 17 * ROUND].every((length) => {
    const views = [0, 1].map(() => randomFillSync(new Uint8Array(length)));
    const digests = pair(views[0], views[1]);
    return views.every((view, i) => createHash('sha256').update(view).digest().equals(digests[i]));
  });
}
