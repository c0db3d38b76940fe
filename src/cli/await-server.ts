import { Patience } from '../client/patience.ts';
import { systemClock } from '../client/system-clock.ts';
import type { HawserError } from '../core/errors.ts';
import type { Connected } from './connect.ts';
import { ProgressLine } from './progress-line.ts';
import { type GlobalOptions, note } from './terminal.ts';
import { formatSeconds } from './text.ts';

const DAY_MS = 24 * 3600 * 1000;

/**
 * Resolves when the server answers and knows the token. One that is down now (it is restarted, its proxy has
 * nobody behind it) is waited for, as in the middle of a transfer, and stderr says so; what will not pass by
 * itself, such as a name that does not exist, is thrown at once.
 */
export async function awaitServer(
  { api }: Pick<Connected, 'api'>,
  signal: AbortSignal,
  options: GlobalOptions,
): Promise<void> {
  using waits = new DisposableStack();
  let line: ProgressLine | undefined;
  const patience = new Patience({
    clock: systemClock,
    signal,
    giveUpMs: DAY_MS,
    onWaiting: (waiting) => {
      if (waiting === null) return;
      if (line === undefined) {
        note(`${waiting.reason} Waiting for it; Ctrl-C ends that.`, options);
        line = waits.use(new ProgressLine(api.server, options));
      }
      const seconds = Math.max(0, waiting.until - systemClock.now()) / 1000;
      const text = `the server does not answer (again in ${formatSeconds(seconds)})`;
      line.update({ doing: 'connecting', done: 0, total: null, waiting: text });
    },
  });
  await patience.persist(() => api.me(signal), mayComeBack);
}

/** Nobody listens there now, the network is away, or a proxy has nobody behind it. */
function mayComeBack(error: HawserError): boolean {
  if (error.code !== 'unavailable') return error.code === 'too-many';
  return error.details.network !== true || awayCodes.includes(systemCode(error.cause) ?? '');
}

const awayCodes = ['ECONNREFUSED', 'ECONNRESET', 'EHOSTUNREACH', 'ENETUNREACH', 'ETIMEDOUT', 'EPIPE', 'EAI_AGAIN'];

/** `ECONNREFUSED` of an error or of what is inside it; a name with several addresses fails with several. */
function systemCode(error: unknown): string | undefined {
  if (!(error instanceof Error)) return undefined;
  if ('code' in error && typeof error.code === 'string') return error.code;
  if (error instanceof AggregateError) return systemCode(error.errors[0]);
  return systemCode(error.cause);
}
