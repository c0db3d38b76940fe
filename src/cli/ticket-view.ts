import type { ImageioPhase, ImageioProgress } from '../client/imageio-progress.ts';
import { systemClock } from '../client/system-clock.ts';
import type { ProgressChange } from './progress-line.ts';
import { formatSeconds } from './text.ts';

const doing = {
  comparing: 'comparing',
  sending: 'sending',
  fetching: 'fetching',
  flushing: 'flushing',
  verifying: 'verifying',
  done: 'done',
} as const satisfies Record<ImageioPhase, string>;

/** What the progress line shows of a transfer with a ticket. */
export function viewOfTicket({ done, phase, total, underway, waiting }: ImageioProgress): ProgressChange {
  return {
    doing: doing[phase],
    done: Math.min(total, done + underway),
    total,
    waiting:
      waiting === null
        ? null
        : `${waiting.reason} (again in ${formatSeconds(Math.max(0, waiting.until - systemClock.now()) / 1000)})`,
  };
}
