// Plain JavaScript: a worker that has to strip types takes ten MiB more. Types and meaning: ../core/sender.ts, socket-sender.ts.
import { readSync, writeSync } from 'node:fs';
import { createRequire } from 'node:module';
import { parentPort, workerData } from 'node:worker_threads';
import { encrypt, sendEncrypted } from './sender-tls.js';

/** Of one call: bounds how long others wait, and how long the thread does not hear that it should stop. */
const STEP = 4 * 1024 * 1024;
/** Calls for one connection before the next one has its turn. */
const IN_A_ROW = 4;
/** The main thread is told after so many bytes, or so many milliseconds. */
const TOLD_BYTES = 32 * 1024 * 1024;
const TOLD_MS = 100;
/** Bounds how long the thread cannot be ended. */
const LONGEST_POLL_MS = 200;

// <poll.h>, <sys/mman.h>, <bits/socket.h>, <asm-generic/errno-base.h>; the same on x64 and arm64.
const POLLIN = 1;
const POLLOUT = 4;
const MSG_DONTWAIT = 0x40;
const MFD_CLOEXEC = 1;
const EINTR = 4;
const EAGAIN = 11;
const EPIPE = 32;
const ENOTCONN = 107;
const ECONNRESET = 104;
const ETIMEDOUT = 110;

const koffi = createRequire(import.meta.url)('koffi');
const library = koffi.load(null);
const poll = library.func('int poll(void *fds, unsigned long count, int timeout)');
const sendfile = library.func('int64_t sendfile(int to, int from, void *offset, size_t count)');
const memfd = library.func('int memfd_create(const char *name, uint flags)');
const send = library.func('int64_t send(int fd, void *from, size_t length, int flags)');

const { wakeFd } = workerData;
/** Seconds of the monotonic clock since which a call may hang in the file; 0 while none is under way. */
const since = new Int32Array(workerData.since);
/** @type {Map<number, object>} */
const sends = new Map();
let running = false;
let descriptors = Buffer.alloc(8 * 16);
const position = Buffer.alloc(8);
const wakes = Buffer.alloc(8);
/** Small enough to stay in the cache of the core. */
const noughts = Buffer.alloc(256 * 1024);
/** As the data of a file they would not stay there. */
const HOLE_STEP = 1024 * 1024;
let holeFd;
/** What is encrypted at once; a session keeps as much memory for as long as it lives. */
const plain = Buffer.alloc(128 * 1024);

parentPort?.on('message', (message) => {
  const now = performance.now();
  sends.set(message.id, {
    id: message.id,
    socket: message.socket,
    tls: message.tls,
    file: message.file,
    pieces: message.pieces,
    patience: message.patience,
    control: new Int32Array(message.control),
    /** Which piece, and how much of it is sent. */
    piece: 0,
    done: 0,
    bytes: 0,
    told: 0,
    toldAt: now,
    tookAt: now,
    ready: true,
    ending: undefined,
  });
  if (running) return;
  running = true;
  setImmediate(turn);
});

/** One go over everybody who can take something. Between two of them the thread hears its messages. */
function turn() {
  for (const one of sends.values()) {
    if (Atomics.load(one.control, 0) === 1) one.ending = 'returned';
    else if (one.ready) serve(one);
    report(one);
  }
  if (sends.size === 0) {
    running = false;
    return;
  }
  look();
  setImmediate(turn);
}

/** Until somebody can take something, is to be told of, or has been waited for long enough. */
function look() {
  const all = [...sends.values()];
  if (descriptors.length < 8 * (all.length + 1)) descriptors = Buffer.alloc(16 * (all.length + 1));
  descriptors.writeInt32LE(wakeFd, 0);
  descriptors.writeInt32LE(POLLIN, 4);
  const now = performance.now();
  let longest = LONGEST_POLL_MS;
  for (const [i, one] of all.entries()) {
    descriptors.writeInt32LE(one.socket, 8 * (i + 1));
    descriptors.writeInt32LE(POLLOUT, 8 * (i + 1) + 4);
    if (one.ready) longest = 0;
    if (one.bytes > one.told) longest = Math.min(longest, Math.max(1, one.toldAt + TOLD_MS - now));
    longest = Math.min(longest, Math.max(1, one.tookAt + one.patience - now));
  }
  poll(descriptors, all.length + 1, Math.floor(longest));
  if (descriptors.readInt16LE(6) !== 0) readSync(wakeFd, wakes);
  const after = performance.now();
  for (const [i, one] of all.entries()) {
    one.ready = descriptors.readInt16LE(8 * (i + 1) + 6) !== 0;
    if (!one.ready && after - one.tookAt >= one.patience) one.ending ??= 'stalled';
  }
}

function serve(one) {
  for (let calls = 0; calls < IN_A_ROW; calls++) {
    const { offset, length, zero } = one.pieces[one.piece];
    const wanted = Math.min(one.tls === undefined ? (zero ? HOLE_STEP : STEP) : plain.length, length - one.done);
    const got = sendNext(one, { offset: offset + one.done, length: wanted, zero });
    if (got < 0) {
      const errno = koffi.errno();
      if (errno === EINTR) continue;
      if (errno === EAGAIN) one.ready = false;
      else one.ending = isOfSocket(errno) ? 'gone' : 'unsent';
      return;
    }
    if (got === 0) {
      one.ending = 'unsent';
      return;
    }
    one.bytes += got;
    one.done += got;
    one.tookAt = performance.now();
    if (one.done < length) {
      if (got === wanted) continue;
      one.ready = false; // the connection is full, or the file ends here: the next call tells
      return;
    }
    one.done = 0;
    one.piece++;
    if (one.piece === one.pieces.length) {
      one.ending = 'sent';
      return;
    }
  }
}

/** Bytes of the content that went on; 0 when the file gave none, negative as send(2) fails. */
function sendNext(one, { offset, length, zero }) {
  if (one.tls === undefined) return zero ? sendZeros(one.socket, length) : sendBytes(one, offset, length);
  for (;;) {
    const before = sendEncrypted(one.tls, one.socket);
    if (before < 0) return before;
    if (before === 0) break;
    one.tookAt = performance.now();
  }
  const got = zero ? length : readPlain(one.file, offset, length);
  if (got <= 0) return 0;
  if (!encrypt(one.tls, (zero ? noughts : plain).subarray(0, got))) return 0;
  return got;
}

/** 0 also when it fails: reading again, on the main thread, tells why. */
function readPlain(file, offset, length) {
  Atomics.store(since, 0, process.hrtime()[0] || 1);
  try {
    return readSync(file, plain, 0, length, offset);
  } catch {
    return 0;
  } finally {
    Atomics.store(since, 0, 0);
  }
}

function sendBytes(one, offset, length) {
  position.writeBigInt64LE(BigInt(offset));
  Atomics.store(since, 0, process.hrtime()[0] || 1);
  const got = Number(sendfile(one.socket, one.file, position, length));
  Atomics.store(since, 0, 0);
  return got;
}

/** From a file in memory: its pages go on without a copy, and stay in the cache of the core that takes them. */
function sendZeros(socket, length) {
  if (holeFd === undefined) holeFd = makeHole();
  if (holeFd < 0) return Number(send(socket, noughts, Math.min(length, noughts.length), MSG_DONTWAIT));
  position.writeBigInt64LE(0n);
  return Number(sendfile(socket, holeFd, position, length));
}

function makeHole() {
  const fd = memfd('hawser-zeros', MFD_CLOEXEC);
  if (fd >= 0) writeSync(fd, Buffer.alloc(HOLE_STEP));
  return fd;
}

function isOfSocket(errno) {
  return errno === EPIPE || errno === ECONNRESET || errno === ENOTCONN || errno === ETIMEDOUT;
}

function report(one) {
  const { id, bytes, told, ending } = one;
  if (ending !== undefined) {
    sends.delete(id);
    parentPort?.postMessage({ id, sent: bytes - told, ended: { kind: ending, bytes } });
    return;
  }
  const now = performance.now();
  if (bytes === told || (bytes - told < TOLD_BYTES && now - one.toldAt < TOLD_MS)) return;
  one.told = bytes;
  one.toldAt = now;
  parentPort?.postMessage({ id, sent: bytes - told });
}
