import { useSignal } from '../parts/signal-store.ts';
import { liveState } from './live-feed.ts';

/** Says when what is shown may be some seconds old. */
export function LiveNote() {
  const state = useSignal(liveState);
  return (
    <span role="status">
      {state === 'polling' && (
        <span
          className="h-state"
          style={{ '--h-tone': 'var(--h-wait)', '--h-tone-soft': 'var(--h-wait-soft)' } as React.CSSProperties}
        >
          Reconnecting…
        </span>
      )}
    </span>
  );
}
