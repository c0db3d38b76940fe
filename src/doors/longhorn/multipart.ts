import type { IncomingMessage } from 'node:http';
import type { Readable, Writable } from 'node:stream';
import { Busboy, type BusboyHeaders } from '@fastify/busboy';
import type { ByteSource } from '../../core/bytes.ts';
import { HawserError } from '../../core/errors.ts';
import { passedInBuffers } from '../../native/young-garbage.ts';

/** The file of a form as it arrives. */
export interface FormFile {
  /** The fields that came before it. */
  readonly fields: ReadonlyMap<string, string>;
  readonly source: ByteSource;
}

/** Fields of a form are names and numbers. */
const limits = { fields: 20, fieldSize: 4096, files: 1, parts: 40, headerPairs: 50, headerSize: 16 * 1024 };

/** A body that says nothing for so long is given up; what arrived is kept. */
const IDLE_MS = 120_000;

/**
 * Reads a `multipart/form-data` body up to its one file part, and hands over the file as a stream that is
 * held back while the taker is busy. Throws `bad-request` when there is no file, or no form.
 */
export function formFile(request: IncomingMessage): Promise<FormFile> {
  const form = parserOf(request);
  const fields = new Map<string, string>();
  return new Promise((resolve, reject) => {
    const fail = (message: string) => reject(new HawserError('bad-request', message));
    form.on('field', (name: string, value: string) => void fields.set(name, value));
    form.on('file', (_name: string, file: Readable) => resolve({ fields, source: fileSource(request, form, file) }));
    form.once('finish', () => fail('The form has no file part. Send the bytes as the part "chunk" with a filename.'));
    form.once('error', (error: unknown) =>
      fail(`The form could not be read: ${error instanceof Error ? error.message : String(error)}.`),
    );
    request.once('close', () => reject(brokeOff()));
    request.pipe(form);
  });
}

function parserOf(request: IncomingMessage): Writable {
  const type = request.headers['content-type'] ?? '';
  if (!/^multipart\/form-data\b.*\bboundary=/i.test(type)) {
    throw new HawserError(
      'bad-request',
      `The body must be multipart/form-data with a boundary; found ${type === '' ? 'no content-type' : `"${type.slice(0, 100)}"`}.`,
    );
  }
  const headers: BusboyHeaders = { ...request.headers, 'content-type': type };
  return new Busboy({ headers, limits, fileHwm: 256 * 1024, highWaterMark: 256 * 1024 });
}

function fileSource(request: IncomingMessage, form: Writable, file: Readable): ByteSource {
  // Before anybody listens: an error of the form that ends a part early must not end the process.
  let broken: Error | undefined;
  file.on('error', (error: Error) => (broken ??= error));
  form.on('error', (error: unknown) => (broken ??= error instanceof Error ? error : new Error(String(error))));
  return {
    drain: (take, signal) =>
      new Promise((resolve, reject) => {
        let busy: Promise<void> | undefined;
        let ended = false;
        let whole = false;
        let heard = performance.now();
        const idle = setInterval(() => {
          if (busy === undefined && performance.now() - heard > IDLE_MS) fail(brokeOff());
        }, IDLE_MS / 8).unref();
        const leave = () => {
          clearInterval(idle);
          file.off('data', onData).off('end', onEnd).off('error', onBreak);
          form.off('error', onBreak).off('finish', onWhole);
          request.off('close', onClose);
          signal.removeEventListener('abort', onAbort);
        };
        const fail = (error: unknown) => {
          leave();
          file.pause();
          request.unpipe(form);
          reject(error);
        };
        const onData = (chunk: Buffer) => {
          heard = performance.now();
          try {
            busy = take(chunk);
          } catch (error) {
            return fail(error);
          }
          passedInBuffers(chunk.length);
          if (busy === undefined) return;
          file.pause();
          busy.then(goOn, fail);
        };
        const goOn = () => {
          busy = undefined;
          heard = performance.now();
          if (ended) finish();
          else file.resume();
        };
        // Also the closing boundary is read before the answer: the connection is good for the next request then.
        const onEnd = () => {
          ended = true;
          if (busy === undefined) finish();
        };
        const finish = () => {
          if (!whole) return;
          leave();
          setImmediate(resolve);
        };
        const onWhole = () => {
          whole = true;
          if (ended && busy === undefined) finish();
        };
        const onBreak = () => void Promise.resolve(busy).then(() => fail(brokeOff()), fail);
        const onClose = () => {
          if (!ended && !request.complete) onBreak();
        };
        const onAbort = () => fail(signal.reason);
        if (signal.aborted) return fail(signal.reason);
        if (broken !== undefined || (request.destroyed && !request.complete)) return onBreak();
        signal.addEventListener('abort', onAbort, { once: true });
        form.on('error', onBreak).on('finish', onWhole);
        file.on('error', onBreak);
        request.on('close', onClose);
        file.on('data', onData).on('end', onEnd);
      }),
  };
}

function brokeOff(): HawserError {
  return new HawserError(
    'connection-lost',
    'The body broke off before its end. A chunk that was not whole does not count; send it again.',
  );
}
