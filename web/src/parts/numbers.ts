import { sizeText } from '../../../src/core/size-text.ts';

/** `1.25 GiB`; a dash for what is not known. */
export function formatBytes(bytes: number | null | undefined): string {
  return bytes === null || bytes === undefined ? '–' : sizeText(bytes);
}

export function formatRate(bytesPerSecond: number | null | undefined): string {
  return bytesPerSecond ? `${formatBytes(bytesPerSecond)}/s` : '–';
}

/** `3 GiB (3,221,225,472 bytes)` where the exact number matters. */
export function exactBytes(bytes: number | null): string {
  if (bytes === null) return 'not known yet';
  return bytes < 1024
    ? `${bytes} bytes`
    : `${formatBytes(bytes)} (${new Intl.NumberFormat('en', { maximumFractionDigits: 0 }).format(bytes)} bytes)`;
}

/** `8 s`, `3 min`, `1 h 20 min`, `2 d 4 h`. */
export function formatDuration(seconds: number): string {
  if (!Number.isFinite(seconds) || seconds < 0) return '–';
  const whole = Math.ceil(seconds);
  if (whole < 60) return `${whole} s`;
  const minutes = Math.round(whole / 60);
  if (minutes < 60) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  if (hours < 48) return minutes % 60 === 0 ? `${hours} h` : `${hours} h ${minutes % 60} min`;
  return `${Math.floor(hours / 24)} d ${hours % 24} h`;
}

/** Never 100 before all is there, never 0 once something is. */
export function percent(done: number, total: number | null): number | undefined {
  if (total === null) return undefined;
  if (total === 0) return 100;
  const share = (done / total) * 100;
  if (done >= total) return 100;
  return done > 0 ? Math.min(99, Math.max(1, Math.floor(share))) : 0;
}

export function timeLeft(done: number, total: number | null, rate: number | null): string | undefined {
  if (total === null || !rate) return undefined;
  return formatDuration((total - done) / rate);
}

/** `1 Copy`, `3 Copies`. */
export function counted(count: number, one: string, many: string): string {
  return `${count} ${count === 1 ? one : many}`;
}
