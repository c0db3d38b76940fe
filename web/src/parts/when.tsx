const exact = new Intl.DateTimeFormat(undefined, { dateStyle: 'medium', timeStyle: 'medium' });
const day = new Intl.DateTimeFormat(undefined, { dateStyle: 'medium' });
const relative = new Intl.RelativeTimeFormat('en', { numeric: 'auto' });

/** `3 minutes ago`; the exact time is in the tooltip. */
export function When({ at }: { readonly at: string | null }) {
  if (at === null) return <>–</>;
  const time = new Date(at);
  return (
    <time dateTime={at} title={exact.format(time)} style={{ whiteSpace: 'nowrap' }}>
      {ago(time, Date.now())}
    </time>
  );
}

export function exactTime(at: string): string {
  return exact.format(new Date(at));
}

function ago(time: Date, now: number): string {
  const seconds = (time.getTime() - now) / 1000;
  const size = Math.abs(seconds);
  if (size < 45) return seconds > 0 ? 'in a moment' : 'just now';
  if (size < 3_600) return relative.format(Math.round(seconds / 60), 'minute');
  if (size < 86_400) return relative.format(Math.round(seconds / 3_600), 'hour');
  if (size < 7 * 86_400) return relative.format(Math.round(seconds / 86_400), 'day');
  return day.format(time);
}
