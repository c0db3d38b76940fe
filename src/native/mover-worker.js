// Plain JavaScript: a worker that has to strip types takes ten MiB more. Types and meaning: ../core/mover.ts, socket-mover.ts.
import { readSync, writeSync } from 'node:fs';
import { createRequire } from 'node:module';
import { parentPort, workerData } from 'node:worker_threads';
import { hashFilled, MoverSlab } from './mover-slab.js';
import { readTls } from './mover-tls.js';

const BLOCK = 1024 * 1024;
const PROBE = 256;
/** Segments of one message: one wake-up of the main thread for four of them. */
const TOGETHER = 4;
/** Segments that may be told and not dealt with. */
const AHEAD = 128;
/** Blocks of one connection before the next one has its turn. */
const IN_A_ROW = 2;
/** The kernel wakes us for so many bytes; for less, we look once a second. */
const WORTH_WAKING = 256 * 1024;
/** A part of a block is written after so long, so that a slow client keeps no slab and loses little. */
const PATIENCE_MS = 2000;
/** tls-session.ts */
const TLS_READ_AHEAD = 128 * 1024;
const LOOK_MS = 1000;
/** Bounds how long the thread cannot be ended. */
const LONGEST_POLL_MS = 200;
/** The main thread does not say when it has caught up. */
const CATCH_UP_MS = 10;

// <poll.h>, <bits/socket.h>, <asm-generic/socket.h>, <asm-generic/errno-base.h>; the same on x64 and arm64.
const POLLIN = 1;
const MSG_DONTWAIT = 0x40;
const SOL_SOCKET = 1;
const SO_RCVLOWAT = 18;
const EINTR = 4;
const EAGAIN = 11;

const koffi = createRequire(import.meta.url)('koffi');
const library = koffi.load(null);
const poll = library.func('int poll(void *fds, unsigned long count, int timeout)');
const recv = library.func('int64_t recv(int fd, void *into, size_t length, int flags)');
const setsockopt = library.func('int setsockopt(int fd, int level, int name, void *value, uint32_t length)');

const { wakeFd } = workerData;
/** Seconds of the monotonic clock since which a write may hang; 0 while none is under way. */
const since = new Int32Array(workerData.since);
/** Set while we wait for hash threads. */
const waits = new Int32Array(workerData.moverWaits);
const hashers = workerData.hashers.map(({ port, asleep }) => ({ port, asleep: new Int32Array(asleep) }));
/** @type {Map<number, MoverSlab>} */
const slabs = new Map();
/** @type {Map<number, object>} */
const moves = new Map();
let free = [];
/** With the main thread. */
let lent = [];
let running = false;
let lookedAt = 0;
let descriptors = Buffer.alloc(8 * 16);
const option = Buffer.alloc(4);
const wakes = Buffer.alloc(8);

parentPort?.on('message', (message) => {
  for (const slab of message.fresh) slabs.set(slab.index, new MoverSlab(slab));
  if (moves.size === 0) {
    lent = message.slabs.map((index) => slabs.get(index));
    free = [];
    takeBack();
  }
  const { offset, length } = message.range;
  moves.set(message.id, {
    id: message.id,
    socket: message.socket,
    tls: message.tls,
    file: message.file,
    digests: message.digests,
    skipsZeros: message.skipsZeros,
    patience: message.patience,
    lead: message.lead,
    control: new Int32Array(message.control),
    /** Where the slab begins, the next byte to come, the end of the body. */
    start: offset,
    next: offset,
    end: offset + length,
    slab: undefined,
    filledAt: 0,
    heardAt: performance.now(),
    wakesAt: 1,
    ready: false,
    /** A TLS session may have bytes that are not in the connection any more. */
    mayHaveMore: message.tls !== undefined,
    /** Written, and zeros: in order, until the first of them is hashed. */
    written: [],
    /** Ready to be told. */
    segments: [],
    told: 0,
    /** How it ends, once that is known. */
    ending: undefined,
  });
  if (running) return;
  running = true;
  setImmediate(turn);
});

/** One go over everything that is ready. Between two of them the thread hears its messages. */
function turn() {
  each((move) => (Atomics.load(move.control, 0) === 1 ? end(move, { kind: 'returned' }) : undefined));
  look();
  each((move) => (move.ready ? serve(move) : undefined));
  if (performance.now() - lookedAt >= LOOK_MS) {
    lookedAt = performance.now();
    each(lookAfter);
  }
  each(report);
  if (moves.size > 0) return setImmediate(turn);
  running = false;
  Atomics.store(since, 0, 0);
}

function each(act) {
  // What throws here ends the thread, and with it all moves: a slab of one that was let go alone could
  // still be with the hashing thread when it is used again.
  for (const move of [...moves.values()]) act(move);
}

/** Marks who has bytes. When nobody has, tells and hashes what there is, and only then waits. */
function look() {
  const asked = [...moves.values()].filter(mayReceive);
  if (pollAll(asked, 0) || hasNews() || hashSomething()) return;
  const longest = [...moves.values()].some(isAhead) ? CATCH_UP_MS : LONGEST_POLL_MS;
  Atomics.store(waits, 0, 1);
  if (!hasHashed()) pollAll(asked, longest);
  Atomics.store(waits, 0, 0);
}

/** Whether anybody has bytes now, or after at most so many milliseconds. */
function pollAll(asked, longest) {
  if (descriptors.length < 8 * (asked.length + 1)) descriptors = Buffer.alloc(16 * (asked.length + 1));
  descriptors.writeInt32LE(wakeFd, 0);
  descriptors.writeInt32LE(POLLIN, 4);
  for (const [i, move] of asked.entries()) {
    if (move.lead.length === 0) wakeFor(move, worthWaking(move));
    descriptors.writeInt32LE(move.socket, 8 * (i + 1));
    descriptors.writeInt32LE(POLLIN, 8 * (i + 1) + 4);
  }
  poll(descriptors, asked.length + 1, longest);
  if (descriptors.readInt16LE(6) !== 0) readSync(wakeFd, wakes);
  for (const move of moves.values()) move.ready = false;
  let found = false;
  for (const [i, move] of asked.entries()) {
    move.ready = move.lead.length > 0 || move.mayHaveMore || descriptors.readInt16LE(8 * (i + 1) + 6) !== 0;
    found ||= move.ready;
  }
  return found;
}

function mayReceive(move) {
  return move.ending === undefined && !isAhead(move) && (move.slab !== undefined || maySlab());
}

/** Whether waiting for the main thread is not all that is left. */
function maySlab() {
  if (free.length === 0) takeBack();
  return free.length > 0 || lent.length === 0;
}

/** What the main thread is done with. As long as it has all, we are held as by a file that hangs. */
function takeBack() {
  if (lent.length === 0) return;
  for (const slab of lent) if (!slab.isLent) free.push(slab);
  lent = lent.filter((slab) => slab.isLent);
  if (free.length > 0 || lent.length === 0) Atomics.store(since, 0, 0);
  else Atomics.compareExchange(since, 0, 0, process.hrtime()[0] || 1);
}

function isAhead(move) {
  return move.told + move.segments.length + move.written.length - Atomics.load(move.control, 1) >= AHEAD;
}

function hasNews() {
  for (const move of moves.values()) if (move.segments.length > 0) return true;
  return false;
}

function hasHashed() {
  for (const { written } of moves.values()) if (written.length > 0 && written[0].slab?.isHashed !== false) return true;
  return false;
}

function hashSomething() {
  return hashFilled(waiting());
}

/** Slabs whose digests are waited for, the first of each move first. */
function* waiting() {
  for (const { written } of moves.values()) for (const { slab } of written) if (slab !== undefined) yield slab;
}

/** What a TLS session has read ahead is not in the connection, and may be all but that. */
function worthWaking({ tls, next, end }) {
  const bytes = Math.min(WORTH_WAKING, end - next);
  return tls === undefined ? bytes : Math.max(1, bytes - TLS_READ_AHEAD);
}

/** SO_RCVLOWAT. */
function wakeFor(move, bytes) {
  if (move.wakesAt === bytes) return;
  move.wakesAt = bytes;
  option.writeInt32LE(bytes);
  setsockopt(move.socket, SOL_SOCKET, SO_RCVLOWAT, option, 4);
}

function serve(move) {
  for (let blocks = 0; blocks < IN_A_ROW; blocks++) {
    if (move.slab === undefined && !takeSlab(move)) return;
    const room = Math.min(BLOCK - (move.next % BLOCK), move.end - move.next);
    const got = fill(move, room);
    if (got === undefined) return move.next === move.start ? giveUp(move) : undefined;
    if (got === 0) return end(move, { kind: 'returned' });
    if (move.next === move.start) move.filledAt = performance.now();
    move.next += got;
    if (got < room) return; // most likely it has no more
    land(move);
    if (move.ending !== undefined) return;
    if (move.next === move.end) return end(move, { kind: 'returned' });
  }
}

/** Bytes received; 0 when the connection is at its end or broken, undefined when there is nothing now. */
function fill(move, room) {
  const at = move.next - move.start;
  const into = move.slab.bytes.subarray(at, at + room);
  let got = Math.min(move.lead.length, room);
  if (got > 0) {
    into.set(move.lead.subarray(0, got));
    move.lead = move.lead.subarray(got);
  } else if (move.tls !== undefined) {
    got = readTls(move.tls, into);
    move.mayHaveMore = got === room;
    if (got === undefined || got === 0) return got;
  } else {
    got = Number(recv(move.socket, into, room, MSG_DONTWAIT));
    if (got < 0) {
      const errno = koffi.errno();
      return errno === EAGAIN || errno === EINTR ? undefined : 0;
    }
  }
  move.heardAt = performance.now();
  return got;
}

/** A free one; else one that only has to be hashed; else that of a connection that has nothing now. */
function takeSlab(move) {
  if (free.length === 0) takeBack();
  if (free.length === 0) each(collect);
  while (free.length === 0 && hashSomething()) each(collect);
  if (free.length === 0) {
    let oldest;
    for (const other of moves.values()) {
      if (other.slab === undefined || other.ready) continue;
      if (oldest === undefined || other.filledAt < oldest.filledAt) oldest = other;
    }
    if (oldest === undefined) return false;
    land(oldest);
    while (free.length === 0 && hashSomething()) each(collect);
  }
  move.slab = free.pop();
  return move.slab !== undefined;
}

/** Writes what the slab holds, or gives it to the main thread to do so, and lets go of it; hashing comes later, by whoever has time. */
function land(move) {
  const { slab, start } = move;
  const length = move.next - start;
  if (slab === undefined || length === 0) return giveUp(move);
  const bytes = slab.bytes.subarray(0, length);
  if (move.skipsZeros && isZero(bytes)) {
    move.written.push({ offset: start, length, zero: true, slab: undefined });
    giveUp(move);
  } else if (move.file === undefined) {
    slab.lend();
    lent.push(slab);
    move.written.push({ offset: start, length, zero: false, slab: undefined, lent: slab.index });
    move.slab = undefined;
  } else if (!write(move.file, bytes, start)) {
    move.ending = { kind: 'unwritten', bytes: Uint8Array.from(bytes) };
    giveUp(move);
  } else if (move.digests) {
    move.written.push({ offset: start, length, zero: false, slab });
    move.slab = undefined;
    slab.fill(length);
    wakeHasher();
  } else {
    move.written.push({ offset: start, length, zero: false, slab: undefined });
    giveUp(move);
  }
  move.start = move.next;
}

function giveUp(move) {
  if (move.slab !== undefined) free.push(move.slab);
  move.slab = undefined;
}

/** One block is hashed here, where it is hot; for more, help is called. */
function wakeHasher() {
  let filled = 0;
  for (const slab of slabs.values()) if (slab.isFilled) filled++;
  if (filled < 2) return;
  for (const { port, asleep } of hashers) {
    if (Atomics.compareExchange(asleep, 0, 1, 0) === 1) return port.postMessage(null);
  }
}

function write(file, bytes, offset) {
  Atomics.store(since, 0, process.hrtime()[0] || 1);
  try {
    for (let done = 0; done < bytes.length; ) {
      const written = writeSync(file, bytes, done, bytes.length - done, offset + done);
      if (written === 0) return false;
      done += written;
    }
    return true;
  } catch {
    // The main thread writes it again, and hears from the Store what is wrong.
    return false;
  } finally {
    Atomics.store(since, 0, 0);
  }
}

/** Once a second: what came in less than is worth waking for, and what has waited long enough. */
function lookAfter(move) {
  if (!move.ready && move.lead.length === 0 && mayReceive(move)) serve(move);
  const now = performance.now();
  if (move.slab !== undefined && now - move.filledAt > PATIENCE_MS) land(move);
  // While nothing is received it is not the client's turn.
  if (!mayReceive(move)) move.heardAt = now;
  if (now - move.heardAt > move.patience) end(move, { kind: 'returned' });
}

/** What has come is landed first. What is left of the lead the main thread still has. */
function end(move, how) {
  if (move.ending !== undefined) return;
  land(move);
  move.ending ??= how;
}

/** What is written and hashed, in order. */
function collect(move) {
  while (move.written.length > 0) {
    const { offset, length, zero, slab, lent: index } = move.written[0];
    const sha256 = slab === undefined ? null : slab.takeDigest();
    if (sha256 === undefined) return;
    if (slab !== undefined) free.push(slab);
    move.written.shift();
    move.segments.push({ offset, length, zero, sha256, slab: index });
  }
}

function report(move) {
  collect(move);
  const { id, segments, ending: ended } = move;
  if (ended !== undefined && move.written.length === 0) {
    wakeFor(move, 1);
    moves.delete(id);
    parentPort?.postMessage({ id, segments, ended });
  } else if (segments.length >= TOGETHER || (segments.length > 0 && !move.ready)) {
    parentPort?.postMessage({ id, segments });
    move.told += segments.length;
    move.segments = [];
  }
}

/** As engine/zeros.ts. */
function isZero(bytes) {
  const head = Math.min(PROBE, bytes.length);
  for (let i = 0; i < head; i++) if (bytes[i] !== 0) return false;
  return bytes.length <= PROBE || bytes.compare(bytes, PROBE, bytes.length, 0, bytes.length - PROBE) === 0;
}
