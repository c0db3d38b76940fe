// Plain JavaScript: a worker that has to strip types takes ten MiB more. Types and meaning: ../core/mover.ts, socket-mover.ts.
import { hash } from 'node:crypto';
import { readSync, writeSync } from 'node:fs';
import { createRequire } from 'node:module';
import { parentPort } from 'node:worker_threads';

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

// <poll.h>, <bits/socket.h>, <asm-generic/socket.h>, <asm-generic/errno-base.h>; the same on x64 and arm64.
const POLLIN = 1;
const MSG_DONTWAIT = 0x40;
const SOL_SOCKET = 1;
const SO_RCVLOWAT = 18;
const EINTR = 4;
const EAGAIN = 11;
const EFD_CLOEXEC_NONBLOCK = 0o2000000 | 0o4000;

const koffi = createRequire(import.meta.url)('koffi');
const library = koffi.load(null);
const poll = library.func('int poll(void *fds, unsigned long count, int timeout)');
const recv = library.func('int64_t recv(int fd, void *into, size_t length, int flags)');
const setsockopt = library.func('int setsockopt(int fd, int level, int name, void *value, uint32_t length)');
const eventfd = library.func('int eventfd(uint32_t initial, int flags)');

/** @type {Map<number, Buffer>} */
const known = new Map();
/** @type {Map<number, object>} */
const jobs = new Map();
let free = [];
let running = false;
let lookedAt = 0;
let descriptors = Buffer.alloc(8 * 16);
const option = Buffer.alloc(4);
const wakes = Buffer.alloc(8);
const wakeFd = eventfd(0, EFD_CLOEXEC_NONBLOCK);

parentPort?.postMessage({ wakeFd });
parentPort?.on('message', (message) => {
  for (const { index, shared } of message.fresh) known.set(index, Buffer.from(shared));
  if (jobs.size === 0) free = [...message.slabs];
  const { offset, length } = message.range;
  jobs.set(message.id, {
    ...message,
    control: new Int32Array(message.control),
    next: offset,
    start: offset,
    end: offset + length,
    slab: undefined,
    filledAt: 0,
    heardAt: performance.now(),
    wakesAt: 1,
    ready: true,
    told: 0,
    segments: [],
  });
  if (running) return;
  running = true;
  setImmediate(turn);
});

/** One go over everything that is ready. Between two of them the thread hears its messages. */
function turn() {
  for (const job of [...jobs.values()]) if (Atomics.load(job.control, 0) === 1) end(job, { kind: 'returned' });
  if (jobs.size === 0) {
    running = false;
    return;
  }
  look(hasNews() ? 0 : LONGEST_POLL_MS);
  for (const job of [...jobs.values()]) if (job.ready) attempt(job, serve);
  const now = performance.now();
  if (now - lookedAt >= LOOK_MS) {
    lookedAt = now;
    for (const job of [...jobs.values()]) attempt(job, lookAfter);
  }
  for (const job of jobs.values()) if (!job.ready || job.segments.length >= TOGETHER) tell(job);
  setImmediate(turn);
}

function attempt(job, act) {
  try {
    act(job);
  } catch (error) {
    jobs.delete(job.id);
    giveUp(job);
    parentPort?.postMessage({ id: job.id, segments: job.segments, ended: { kind: 'lost', cause: error } });
  }
}

function hasNews() {
  for (const job of jobs.values()) if (job.segments.length > 0 || job.lead.length > 0) return true;
  return false;
}

/** Waits for a connection that has bytes, or for a message; marks who is ready. */
function look(longest) {
  const asked = [...jobs.values()].filter(mayReceive);
  if (descriptors.length < 8 * (asked.length + 1)) descriptors = Buffer.alloc(16 * (asked.length + 1));
  descriptors.writeInt32LE(wakeFd, 0);
  descriptors.writeInt32LE(POLLIN, 4);
  for (const [i, job] of asked.entries()) {
    descriptors.writeInt32LE(job.socket, 8 * (i + 1));
    descriptors.writeInt32LE(POLLIN, 8 * (i + 1) + 4);
    if (job.lead.length === 0) wakeFor(job, Math.min(WORTH_WAKING, job.end - job.next));
  }
  poll(descriptors, asked.length + 1, asked.length < jobs.size ? Math.min(10, longest) : longest);
  if (descriptors.readInt16LE(6) !== 0) readSync(wakeFd, wakes);
  for (const job of jobs.values()) job.ready = false;
  for (const [i, job] of asked.entries()) {
    job.ready = job.lead.length > 0 || descriptors.readInt16LE(8 * (i + 1) + 6) !== 0;
  }
}

function mayReceive(job) {
  return job.told + job.segments.length - Atomics.load(job.control, 1) < AHEAD;
}

/** SO_RCVLOWAT. */
function wakeFor(job, bytes) {
  if (job.wakesAt === bytes) return;
  job.wakesAt = bytes;
  option.writeInt32LE(bytes);
  setsockopt(job.socket, SOL_SOCKET, SO_RCVLOWAT, option, 4);
}

function serve(job) {
  for (let blocks = 0; blocks < IN_A_ROW; ) {
    if (job.slab === undefined && !takeSlab(job)) return;
    const at = job.next - job.start;
    const room = Math.min(BLOCK - (job.next % BLOCK), job.end - job.next);
    const got = fill(job, known.get(job.slab).subarray(at, at + room));
    if (got === undefined) {
      if (at === 0) giveUp(job);
      return;
    }
    if (got === 0) return end(job, { kind: 'returned' });
    if (at === 0) job.filledAt = performance.now();
    job.next += got;
    if (got < room) continue;
    if (!land(job)) return;
    if (job.next === job.end) return end(job, { kind: 'returned' });
    blocks++;
  }
}

/** Bytes received; 0 when the connection is at its end or broken, undefined when there is nothing now. */
function fill(job, into) {
  let got = Math.min(job.lead.length, into.length);
  if (got > 0) {
    into.set(job.lead.subarray(0, got));
    job.lead = job.lead.subarray(got);
  } else {
    got = Number(recv(job.socket, into, into.length, MSG_DONTWAIT));
    if (got < 0) {
      const errno = koffi.errno();
      return errno === EAGAIN || errno === EINTR ? undefined : 0;
    }
  }
  job.heardAt = performance.now();
  return got;
}

/** A free one, or that of a connection that has nothing now. */
function takeSlab(job) {
  if (free.length === 0) {
    let oldest;
    for (const other of jobs.values()) {
      if (other.slab === undefined || other.ready) continue;
      if (oldest === undefined || other.filledAt < oldest.filledAt) oldest = other;
    }
    if (oldest === undefined) return false;
    attempt(oldest, land);
  }
  job.slab = free.pop();
  return job.slab !== undefined;
}

/** Writes and hashes what the slab holds and lets go of it. False when the file did not take it: the move has ended. */
function land(job) {
  const length = job.next - job.start;
  if (length > 0) {
    const bytes = known.get(job.slab).subarray(0, length);
    let sha256 = null;
    if (!isZero(bytes)) {
      if (!write(job.file, bytes, job.start)) {
        finish(job, { kind: 'unwritten', bytes: Uint8Array.from(bytes) });
        return false;
      }
      sha256 = hash('sha256', bytes, 'hex');
    }
    job.segments.push({ offset: job.start, length, sha256 });
    job.start = job.next;
  }
  giveUp(job);
  return true;
}

function giveUp(job) {
  if (job.slab !== undefined) free.push(job.slab);
  job.slab = undefined;
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
  const now = performance.now();
  if (!job.ready && job.lead.length === 0 && mayReceive(job)) serve(job);
  if (!jobs.has(job.id)) return;
  if (job.slab !== undefined && now - job.filledAt > PATIENCE_MS) land(job);
  if (now - job.heardAt > SILENCE_MS) end(job, { kind: 'returned' });
}

/** What has come is landed first. What is left of the lead the main thread still has. */
function end(job, how) {
  if (!jobs.has(job.id)) return;
  if (job.slab === undefined || land(job)) finish(job, how);
}

function finish(job, ended) {
  jobs.delete(job.id);
  giveUp(job);
  wakeFor(job, 1);
  parentPort?.postMessage({ id: job.id, segments: job.segments, ended });
}

function tell(job) {
  if (job.segments.length === 0) return;
  parentPort?.postMessage({ id: job.id, segments: job.segments });
  job.told += job.segments.length;
  job.segments = [];
}

/** As engine/zeros.ts. */
function isZero(bytes) {
  const head = Math.min(PROBE, bytes.length);
  for (let i = 0; i < head; i++) if (bytes[i] !== 0) return false;
  return bytes.length <= PROBE || bytes.compare(bytes, PROBE, bytes.length, 0, bytes.length - PROBE) === 0;
}
