import { describe, expect, it } from 'vitest';
import { exactBytes, formatBytes, formatDuration, percent, timeLeft } from './numbers.ts';

describe('numbers for people', () => {
  it('uses binary units with three digits', () => {
    expect(formatBytes(0)).toBe('0 B');
    expect(formatBytes(1023)).toBe('1023 B');
    expect(formatBytes(1024)).toBe('1 KiB');
    expect(formatBytes(1.25 * 1024 ** 3)).toBe('1.25 GiB');
    expect(formatBytes(12.5 * 1024 ** 3)).toBe('12.5 GiB');
    expect(formatBytes(1024 ** 4 - 1)).toBe('1 TiB');
    expect(formatBytes(100 * 1024 ** 3)).toBe('100 GiB');
    expect(formatBytes(null)).toBe('–');
  });

  it('shows the exact number beside it', () => {
    expect(exactBytes(3 * 1024 ** 3)).toBe('3 GiB (3,221,225,472 bytes)');
    expect(exactBytes(null)).toBe('not known yet');
  });

  it('says done only when it is', () => {
    expect(percent(0, 10)).toBe(0);
    expect(percent(1, 1000)).toBe(1);
    expect(percent(9_999, 10_000)).toBe(99);
    expect(percent(10, 10)).toBe(100);
    expect(percent(0, 0)).toBe(100);
    expect(percent(5, null)).toBeUndefined();
  });

  it('rounds durations to what a person would say', () => {
    expect(formatDuration(7.2)).toBe('8 s');
    expect(formatDuration(185)).toBe('3 min');
    expect(formatDuration(4800)).toBe('1 h 20 min');
    expect(formatDuration(3600 * 52)).toBe('2 d 4 h');
    expect(timeLeft(50, 100, 10)).toBe('5 s');
    expect(timeLeft(50, 100, 0)).toBeUndefined();
  });
});
