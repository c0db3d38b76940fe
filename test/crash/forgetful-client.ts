import { open } from 'node:fs/promises';
import { ApiClient } from '../../src/client/api-client.ts';
import { systemClock } from '../../src/client/system-clock.ts';
import type { ClientEnd, ClientJob, CrashClient } from './harness.ts';

const CHUNK = 4 * 1024 * 1024;

/** A bad client, to see that the suite tells: after a kill it finds its upload and sends all of it again. */
export const forgetfulClient: CrashClient = {
  start: async (job) => {
    const stop = new AbortController();
    const ended = send(job, stop.signal).then(
      (): ClientEnd => ({ kind: 'done' }),
      (error: unknown): ClientEnd =>
        stop.signal.aborted ? { kind: 'killed' } : { kind: 'failed', said: String(error) },
    );
    return {
      ended,
      kill: () => stop.abort(),
      close: async () => {
        stop.abort();
        await ended;
      },
    };
  },
};

async function send({ url, token, file, name }: ClientJob, signal: AbortSignal): Promise<void> {
  const api = new ApiClient({ server: url, token, fetch, clock: systemClock });
  await using source = await open(file);
  const { size } = await source.stat();
  const [known] = (await api.uploads({ name }, signal)).items;
  const upload = known ?? (await api.beginUpload({ name, size }, name, signal));
  const buffer = Buffer.alloc(CHUNK);
  for (let at = 0; at < size; at += CHUNK) {
    const { bytesRead } = await source.read(buffer, 0, CHUNK, at);
    const answer = await fetch(`${url}/api/v1/uploads/${upload.id}/data`, {
      method: 'PUT',
      headers: { authorization: `Bearer ${token}`, 'content-range': `bytes ${at}-${at + bytesRead - 1}/${size}` },
      body: buffer.subarray(0, bytesRead),
      signal,
    });
    if (!answer.ok) throw new Error(`PUT at ${at}: ${answer.status} ${await answer.text()}`);
  }
  await api.finishUpload(upload.id, {}, signal);
}
