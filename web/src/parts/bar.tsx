import { percent } from './numbers.ts';

interface BarProps {
  readonly label: string;
  readonly done: number;
  readonly total: number | null;
  readonly tone?: 'busy' | 'good' | 'wait' | 'bad' | 'plain';
}

/** A progress bar that says its name and percent to assistive technology. */
export function Bar({ label, done, total, tone = 'busy' }: BarProps) {
  const share = percent(done, total);
  return (
    <div
      className="h-bar"
      data-tone={tone}
      role="progressbar"
      aria-label={label}
      aria-valuemin={0}
      aria-valuemax={100}
      {...(share === undefined ? {} : { 'aria-valuenow': share })}
    >
      <span style={{ width: `${total ? Math.min(100, (done / total) * 100) : (share ?? 0)}%` }} />
    </div>
  );
}
