import { RateEstimator } from '../client/rate-estimator.ts';
import type { GlobalOptions } from './terminal.ts';
import { formatBytes, formatSeconds, percent, printable, shorten } from './text.ts';

/** What there is to show at one moment. */
export interface ProgressView {
  readonly name: string;
  /** What is being done: `sending`, `comparing`. */
  readonly doing: string;
  readonly done: number;
  readonly total: number | null;
  readonly rate: number | null;
  readonly secondsLeft: number | null;
  /** Why nothing moves. */
  readonly waiting: string | null;
}

/** One line for a terminal of `width` columns; what does not fit is left out, the least telling first. */
export function renderLine(view: ProgressView, width: number): string {
  const done = view.total === null ? formatBytes(view.done) : `${formatBytes(view.done)} / ${formatBytes(view.total)}`;
  const speed = view.rate === null ? '' : `${formatBytes(view.rate)}/s`;
  const left = view.secondsLeft === null ? '' : `${formatSeconds(view.secondsLeft)} left`;
  const share = percent(view.done, view.total);
  if (view.waiting !== null) {
    const name = shorten(printable(view.name), Math.max(8, Math.floor(width / 4)));
    const letters = [...`${name}  ${share}  waits: ${printable(view.waiting)}`];
    return letters.length <= width ? letters.join('') : `${letters.slice(0, width - 1).join('')}…`;
  }
  const facts = [view.doing, share, done, speed, left].filter((text) => text !== '');
  while (facts.length > 2 && facts.join('  ').length + 12 > width)
    facts.splice(facts.length > 3 ? facts.length - 1 : 2, 1);
  const tail = facts.join('  ');
  const nameWidth = Math.max(8, Math.min([...view.name].length, Math.floor(width / 3)));
  const room = width - tail.length - nameWidth - 6;
  const bar =
    view.total !== null && room >= 10 ? `  ${bars(view.done / Math.max(1, view.total), Math.min(30, room))}` : '';
  return shorten(`${shorten(printable(view.name), nameWidth)}${bar}  ${tail}`, width);
}

function bars(share: number, width: number): string {
  const full = Math.round(Math.min(1, Math.max(0, share)) * width);
  return `[${'#'.repeat(full)}${'-'.repeat(width - full)}]`;
}

export type ProgressChange = Omit<ProgressView, 'name' | 'rate' | 'secondsLeft'>;

/**
 * Shows progress on stderr: a line that is rewritten on a terminal, else a plain line every 10 s; with
 * --json one object a line on stdout, twice a second; with --quiet nothing.
 */
export class ProgressLine implements Disposable {
  readonly #name: string;
  readonly #mode: 'line' | 'plain' | 'json' | 'quiet';
  #rate = new RateEstimator();
  #doing = '';
  #drawnAt = Number.NEGATIVE_INFINITY;
  #last: ProgressChange | undefined;
  readonly #timer: NodeJS.Timeout;

  constructor(name: string, { json = false, quiet = false }: GlobalOptions) {
    this.#name = name;
    this.#mode = quiet ? 'quiet' : json ? 'json' : process.stderr.isTTY ? 'line' : 'plain';
    this.#timer = setInterval(() => this.#last !== undefined && this.update(this.#last), 1000);
    this.#timer.unref();
  }

  update(change: ProgressChange): void {
    const now = performance.now();
    if (change.doing !== this.#doing) {
      this.#rate = new RateEstimator();
      this.#doing = change.doing;
      if (this.#mode !== 'plain') this.#drawnAt = Number.NEGATIVE_INFINITY;
    }
    this.#rate.add(now, change.done);
    this.#last = change;
    const pause = { line: 100, plain: 10_000, json: 500, quiet: Number.POSITIVE_INFINITY }[this.#mode];
    if (now - this.#drawnAt < pause) return;
    this.#drawnAt = now;
    this.#draw(change, now);
  }

  #draw(change: ProgressChange, now: number): void {
    const rate = this.#rate.rate(now);
    const secondsLeft = this.#rate.secondsLeft(now, change.total);
    const view: ProgressView = { ...change, name: this.#name, rate, secondsLeft };
    if (this.#mode === 'json') process.stdout.write(`${JSON.stringify({ event: 'progress', ...view })}\n`);
    else if (this.#mode === 'plain') process.stderr.write(`${renderLine(view, 200)}\n`);
    else if (this.#mode === 'line') {
      process.stderr.write(`\r${renderLine(view, (process.stderr.columns || 80) - 1)}\u001b[K`);
    }
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer);
    if (this.#mode === 'line' && this.#last !== undefined) process.stderr.write('\r\u001b[K');
  }
}
