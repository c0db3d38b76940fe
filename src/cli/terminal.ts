import { isHawserError } from '../core/errors.ts';
import { exitCodeOf, exitCodes } from './exit-codes.ts';
import { printable } from './text.ts';

/** Options that every command has. */
export interface GlobalOptions {
  readonly server?: string;
  readonly token?: string;
  readonly ca?: string;
  readonly dataDir?: string;
  readonly json?: boolean;
  readonly quiet?: boolean;
}

export function print(text: string): void {
  process.stdout.write(`${text}\n`);
}

export function printJson(value: unknown): void {
  process.stdout.write(`${JSON.stringify(value)}\n`);
}

/** For people, beside the result: on stderr. */
export function note(text: string, { quiet = false }: GlobalOptions = {}): void {
  if (!quiet) process.stderr.write(`${text}\n`);
}

export function outWidth(): number {
  return process.stdout.isTTY ? process.stdout.columns || 80 : 200;
}

/** Asked to stop by Ctrl-C or SIGTERM. */
export class Interrupted extends Error {
  override readonly name = 'Interrupted';
}

/** What happened, what to do, and under which number the server's log has it; on stderr. Returns the exit code. */
export function reportError(error: unknown, { json = false }: GlobalOptions): number {
  if (error instanceof Interrupted) return exitCodes.interrupted;
  const known = isHawserError(error);
  const message = error instanceof Error ? error.message : String(error);
  const code = known ? error.code : 'failed';
  const { next, requestId } = known ? error.details : {};
  if (json) printJson({ error: { code, message, next, requestId } });
  // A message may carry a list, a line each.
  const lines = `hawser: ${message}`.split('\n').map(printable);
  if (typeof next === 'string') lines.push(`  ${printable(next)}`);
  if (typeof requestId === 'string') lines.push(`  (request ${printable(requestId)})`);
  if (!known && error instanceof Error && process.env.DEBUG === 'hawser') lines.push(error.stack ?? '');
  process.stderr.write(`${lines.join('\n')}\n`);
  return known ? exitCodeOf[error.code] : exitCodes.failed;
}

/** A signal that fires at Ctrl-C, SIGTERM or SIGHUP; a second one ends the process at once. */
export function stopSignal(): { readonly signal: AbortSignal; readonly release: () => void } {
  const controller = new AbortController();
  const names = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;
  const stop = () => {
    if (controller.signal.aborted) process.exit(exitCodes.interrupted);
    controller.abort(new Interrupted('interrupted'));
  };
  for (const name of names) process.on(name, stop);
  return {
    signal: controller.signal,
    release: () => {
      for (const name of names) process.off(name, stop);
    },
  };
}
