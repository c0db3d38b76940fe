// Plain JavaScript: a worker that has to strip types takes ten MiB more. Hashes what the mover has filled.
import { writeSync } from 'node:fs';
import { parentPort, workerData } from 'node:worker_threads';
import { hashFilled, MoverSlab } from './mover-slab.js';

const ONE = Buffer.from(BigUint64Array.of(1n).buffer);
const slabs = [];
const asleep = new Int32Array(workerData.asleep);
const moverWaits = new Int32Array(workerData.moverWaits);

parentPort?.on('message', (slab) => slabs.push(new MoverSlab(slab)));

workerData.port.on('message', () => {
  do {
    while (hashSome());
    Atomics.store(asleep, 0, 1);
    // One may have been filled before we said so.
  } while (slabs.some(({ isFilled }) => isFilled) && Atomics.compareExchange(asleep, 0, 1, 0) === 1);
});

function hashSome() {
  if (!hashFilled(slabs)) return false;
  if (Atomics.compareExchange(moverWaits, 0, 1, 0) === 1) writeSync(workerData.wakeFd, ONE);
  return true;
}
