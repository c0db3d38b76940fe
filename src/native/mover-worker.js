// Plain JavaScript: a worker that has to strip types takes ten MiB more. Types and meaning: ../core/mover.ts, socket-mover.ts.
import { readSync, writeSync } from 'node:fs';
import { createRequire } from 'node:module';
import { parentPort, workerData } from 'node:worker_threads';
import { MoverSlab } from './mover-slab.js';

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
const LOOK_MS = 1000;
/** A client that says nothing for so long goes back to the ordinary path, which knows when to give it up. */
const SILENCE_MS = 30_000;
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
/** Set while we wait for hash threads. */
const waits = new Int32Array(workerData.moverWaits);
const hashers = workerData.hashers.map(({ port, asleep }) => ({ port, asleep: new Int32Array(asleep) }));
/** @type {Map<number, MoverSlab>} */
const slabs = new Map();
/** @type {Map<number, object>} */
const jobs = new Map();
let free = [];
let running = false;
let lookedAt = 0;
let descriptors = Buffer.alloc(8 * 16);
const option = Buffer.alloc(4);
const wakes = Buffer.alloc(8);

parentPort?.on('message', (message) => {
  for (const slab of message.fresh) slabs.set(slab.index, new MoverSlab(slab));
  if (jobs.size === 0) free = message.slabs.map((index) => slabs.get(index));
  const { offset, length } = message.range;
  jobs.set(message.id, {
    id: message.id,
    socket: message.socket,
    file: message.file,
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
  each((job) => (Atomics.load(job.control, 0) === 1 ? end(job, { kind: 'returned' }) : undefined));
  look();
  each((job) => (job.ready ? serve(job) : undefined));
  if (performance.now() - lookedAt >= LOOK_MS) {
    lookedAt = performance.now();
    each(lookAfter);
  }
  each(report);
  if (jobs.size > 0) setImmediate(turn);
  else running = false;
}

function each(act) {
  for (const job of [...jobs.values()]) {
    try {
      act(job);
    } catch (error) {
      // Never seen. Its slabs stay away until the last move has ended.
      jobs.delete(job.id);
      parentPort?.postMessage({ id: job.id, segments: job.segments, ended: { kind: 'lost', cause: error } });
    }
  }
}

/** Marks who has bytes. When nobody has, tells and hashes what there is, and only then waits. */
function look() {
  const asked = [...jobs.values()].filter(mayReceive);
  if (pollAll(asked, 0) || hasNews() || hashSomething()) return;
  const longest = [...jobs.values()].some(isAhead) ? CATCH_UP_MS : LONGEST_POLL_MS;
  Atomics.store(waits, 0, 1);
  if (!hasHashed()) pollAll(asked, longest);
  Atomics.store(waits, 0, 0);
}

/** Whether anybody has bytes now, or after at most so many milliseconds. */
function pollAll(asked, longest) {
  if (descriptors.length < 8 * (asked.length + 1)) descriptors = Buffer.alloc(16 * (asked.length + 1));
  descriptors.writeInt32LE(wakeFd, 0);
  descriptors.writeInt32LE(POLLIN, 4);
  for (const [i, job] of asked.entries()) {
    if (job.lead.length === 0) wakeFor(job, Math.min(WORTH_WAKING, job.end - job.next));
    descriptors.writeInt32LE(job.socket, 8 * (i + 1));
    descriptors.writeInt32LE(POLLIN, 8 * (i + 1) + 4);
  }
  poll(descriptors, asked.length + 1, longest);
  if (descriptors.readInt16LE(6) !== 0) readSync(wakeFd, wakes);
  for (const job of jobs.values()) job.ready = false;
  let found = false;
  for (const [i, job] of asked.entries()) {
    job.ready = job.lead.length > 0 || descriptors.readInt16LE(8 * (i + 1) + 6) !== 0;
    found ||= job.ready;
  }
  return found;
}

function mayReceive(job) {
  return job.ending === undefined && !isAhead(job);
}

function isAhead(job) {
  return job.told + job.segments.length + job.written.length - Atomics.load(job.control, 1) >= AHEAD;
}

function hasNews() {
  for (const job of jobs.values()) if (job.segments.length > 0) return true;
  return false;
}

function hasHashed() {
  for (const { written } of jobs.values()) if (written.length > 0 && written[0].slab?.isHashed !== false) return true;
  return false;
}

function hashSomething() {
  for (const { written } of jobs.values()) for (const { slab } of written) if (slab?.hashIfFilled()) return true;
  return false;
}

/** SO_RCVLOWAT. */
function wakeFor(job, bytes) {
  if (job.wakesAt === bytes) return;
  job.wakesAt = bytes;
  option.writeInt32LE(bytes);
  setsockopt(job.socket, SOL_SOCKET, SO_RCVLOWAT, option, 4);
}

function serve(job) {
  for (let blocks = 0; blocks < IN_A_ROW; blocks++) {
    if (job.slab === undefined && !takeSlab(job)) return;
    const room = Math.min(BLOCK - (job.next % BLOCK), job.end - job.next);
    const got = fill(job, room);
    if (got === undefined) return job.next === job.start ? giveUp(job) : undefined;
    if (got === 0) return end(job, { kind: 'returned' });
    if (job.next === job.start) job.filledAt = performance.now();
    job.next += got;
    if (got < room) return; // most likely it has no more
    land(job);
    if (job.ending !== undefined) return;
    if (job.next === job.end) return end(job, { kind: 'returned' });
  }
}

/** Bytes received; 0 when the connection is at its end or broken, undefined when there is nothing now. */
function fill(job, room) {
  const at = job.next - job.start;
  const into = job.slab.bytes.subarray(at, at + room);
  let got = Math.min(job.lead.length, room);
  if (got > 0) {
    into.set(job.lead.subarray(0, got));
    job.lead = job.lead.subarray(got);
  } else {
    got = Number(recv(job.socket, into, room, MSG_DONTWAIT));
    if (got < 0) {
      const errno = koffi.errno();
      return errno === EAGAIN || errno === EINTR ? undefined : 0;
    }
  }
  job.heardAt = performance.now();
  return got;
}

/** A free one; else one that only has to be hashed; else that of a connection that has nothing now. */
function takeSlab(job) {
  if (free.length === 0) each(collect);
  while (free.length === 0 && hashSomething()) each(collect);
  if (free.length === 0) {
    let oldest;
    for (const other of jobs.values()) {
      if (other.slab === undefined || other.ready) continue;
      if (oldest === undefined || other.filledAt < oldest.filledAt) oldest = other;
    }
    if (oldest === undefined) return false;
    land(oldest);
    while (free.length === 0 && hashSomething()) each(collect);
  }
  job.slab = free.pop();
  return job.slab !== undefined;
}

/** Writes what the slab holds and lets go of it; hashing comes later, by whoever has time. */
function land(job) {
  const { slab, start } = job;
  const length = job.next - start;
  if (slab === undefined || length === 0) return giveUp(job);
  const bytes = slab.bytes.subarray(0, length);
  if (isZero(bytes)) {
    job.written.push({ offset: start, length, slab: undefined });
    giveUp(job);
  } else if (write(job.file, bytes, start)) {
    job.written.push({ offset: start, length, slab });
    job.slab = undefined;
    slab.fill(length);
    wakeHasher();
  } else {
    job.ending = { kind: 'unwritten', bytes: Uint8Array.from(bytes) };
    giveUp(job);
  }
  job.start = job.next;
}

function giveUp(job) {
  if (job.slab !== undefined) free.push(job.slab);
  job.slab = undefined;
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
  }
}

/** Once a second: what came in less than is worth waking for, and what has waited long enough. */
function lookAfter(job) {
  if (!job.ready && job.lead.length === 0 && mayReceive(job)) serve(job);
  const now = performance.now();
  if (job.slab !== undefined && now - job.filledAt > PATIENCE_MS) land(job);
  if (now - job.heardAt > SILENCE_MS) end(job, { kind: 'returned' });
}

/** What has come is landed first. What is left of the lead the main thread still has. */
function end(job, how) {
  if (job.ending !== undefined) return;
  land(job);
  job.ending ??= how;
}

/** What is written and hashed, in order. */
function collect(job) {
  while (job.written.length > 0) {
    const { offset, length, slab } = job.written[0];
    const sha256 = slab === undefined ? null : slab.takeDigest();
    if (sha256 === undefined) return;
    if (slab !== undefined) free.push(slab);
    job.written.shift();
    job.segments.push({ offset, length, sha256 });
  }
}

function report(job) {
  collect(job);
  const { id, segments, ending: ended } = job;
  if (ended !== undefined && job.written.length === 0) {
    wakeFor(job, 1);
    jobs.delete(id);
    parentPort?.postMessage({ id, segments, ended });
  } else if (segments.length >= TOGETHER || (segments.length > 0 && !job.ready)) {
    parentPort?.postMessage({ id, segments });
    job.told += segments.length;
    job.segments = [];
  }
}

/** As engine/zeros.ts. */
function isZero(bytes) {
  const head = Math.min(PROBE, bytes.length);
  for (let i = 0; i < head; i++) if (bytes[i] !== 0) return false;
  return bytes.length <= PROBE || bytes.compare(bytes, PROBE, bytes.length, 0, bytes.length - PROBE) === 0;
}
