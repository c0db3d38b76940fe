// Plain JavaScript: a worker that has to strip types takes ten MiB more. Types and meaning: unpack.ts.
import { parentPort, workerData } from 'node:worker_threads';
import { constants, createGunzip, createZstdDecompress } from 'node:zlib';

/** Compressed chunks that wait here, and what waits for one. */
const inbox = [];
let wakeInput;
/** Numbers of free places of `workerData.places`, and what waits for one. */
const free = workerData.places.map((_, index) => index);
let wakeOutput;

const tell = (message) => parentPort?.postMessage(message);

parentPort?.on('message', (message) => {
  if (message.kind === 'free') {
    free.push(message.place);
    wakeOutput?.();
  } else {
    inbox.push(message.kind === 'end' ? undefined : message.bytes);
    wakeInput?.();
  }
});

run(workerData.kind).then(
  () => tell({ kind: 'done' }),
  (error) => tell({ kind: 'failed', ...failureOf(error) }),
);

function run(kind) {
  if (kind === 'xz') return unpackXz();
  return kind === 'gzip' ? unpackGzip() : unpackZstd();
}

/** The next compressed chunk; undefined at the end. */
async function nextChunk() {
  while (inbox.length === 0) {
    await new Promise((resolve) => {
      wakeInput = resolve;
    });
  }
  const chunk = inbox.shift();
  if (chunk !== undefined) tell({ kind: 'eaten', bytes: chunk.length });
  return chunk;
}

/** Hands over a copy of `bytes`, a place at a time. */
async function put(bytes) {
  for (let at = 0; at < bytes.length; ) {
    while (free.length === 0) {
      await new Promise((resolve) => {
        wakeOutput = resolve;
      });
    }
    const place = free.shift();
    const room = new Uint8Array(workerData.places[place]);
    const piece = bytes.subarray(at, at + room.length);
    room.set(piece);
    at += piece.length;
    tell({ kind: 'unpacked', place, length: piece.length });
  }
}

/** Members one after the other are one stream; zeros behind them are padding, however many. node:zlib does both. */
async function unpackGzip() {
  const stream = createGunzip({ chunkSize: 256 * 1024 });
  const putting = putAll(stream);
  for (let chunk = await nextChunk(); chunk !== undefined; chunk = await nextChunk()) {
    if (!stream.readableEnded) await written(stream, chunk, putting);
  }
  stream.end();
  await putting;
}

/**
 * node:zlib ends with the first frame when the next one begins within the same chunk, and says how many bytes it
 * took: what is left goes to a new stream.
 */
async function unpackZstd() {
  let stream = openZstd();
  for (let chunk = await nextChunk(); chunk !== undefined; chunk = await nextChunk()) {
    let rest = chunk;
    for (;;) {
      await written(stream.zstd, rest, stream.putting);
      stream.given += rest.length;
      const left = stream.given - stream.zstd.bytesWritten;
      if (left === 0) break;
      await stream.putting;
      rest = rest.subarray(rest.length - left);
      stream = openZstd();
    }
  }
  if (stream.given > 0) stream.zstd.end();
  else stream.zstd.destroy();
  if (stream.given > 0) await stream.putting;
}

function openZstd() {
  const zstd = createZstdDecompress({
    chunkSize: 256 * 1024,
    params: { [constants.ZSTD_d_windowLogMax]: workerData.windowLog },
  });
  const putting = putAll(zstd);
  putting.catch(() => {}); // it is thrown where it is awaited
  return { zstd, putting, given: 0 };
}

async function putAll(stream) {
  for await (const bytes of stream) await put(bytes);
}

/** Resolves when the chunk was taken; rejects when the stream fails instead. */
function written(stream, chunk, putting) {
  return new Promise((resolve, reject) => {
    putting.catch(reject);
    stream.write(chunk, (error) => (error ? reject(error) : resolve()));
  });
}

const XZ_STREAM_END = 1;
const xzFailures = new Map([
  [3, 'memory'],
  [4, 'memory'],
  [6, 'options'],
  [8, 'truncated'],
]);

/**
 * Straight on the WebAssembly of the package: its stream holds a lock for the whole process, never ends on a file that
 * was cut, and copies twice. The context: size of both buffers, then address, position and fill of the input, and
 * address and position of the output.
 */
async function unpackXz() {
  const { default: xz } = await import('xz-decompress');
  await xz.XzReadableStream._getModuleInstance();
  const { memory, ...wasm } = xz.XzReadableStream._moduleInstance.exports;
  const context = wasm.create_context();
  const fields = () => new Uint32Array(memory.buffer, context, 6);
  const step = async () => {
    const result = wasm.get_next_output(context);
    const view = fields();
    await put(new Uint8Array(memory.buffer, view[4], view[5]));
    fields()[5] = 0;
    if (result > XZ_STREAM_END) throw Object.assign(new Error(`xz ${result}`), { reason: xzFailures.get(result) });
    return result === XZ_STREAM_END;
  };
  const supply = (bytes) => {
    const view = fields();
    new Uint8Array(memory.buffer, view[1], view[0]).set(bytes);
    wasm.supply_input(context, bytes.length);
  };
  const size = fields()[0];
  for (let chunk = await nextChunk(); chunk !== undefined; chunk = await nextChunk()) {
    for (let at = 0; at < chunk.length; at += size) {
      supply(chunk.subarray(at, at + size));
      while (fields()[2] < fields()[3]) await step();
    }
  }
  // Without input it either comes to its end or says that it lacks some.
  supply(new Uint8Array(0));
  while (!(await step()));
}

function failureOf(error) {
  const message = error instanceof Error ? error.message : String(error);
  if (error?.reason !== undefined) return { reason: error.reason, message };
  if (error?.code === 'Z_BUF_ERROR') return { reason: 'truncated', message };
  if (String(error?.code).endsWith('windowTooLarge')) return { reason: 'memory', message };
  return { reason: 'damaged', message };
}
