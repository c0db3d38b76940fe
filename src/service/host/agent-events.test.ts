import { expect, test, vi } from 'vitest';
import type { AgentEvent, UploadReport } from '../../contract/link.ts';
import { AgentEvents } from './agent-events.ts';

const report = (receivedBytes: number): UploadReport => ({
  uploadId: '00000000-0000-4000-8000-000000000001',
  generation: 1,
  state: 'open',
  declaredSize: 10,
  receivedBytes,
  zeroBytes: 0,
  activeAt: null,
  connections: 0,
  pull: 'running',
  problem: null,
  sealed: null,
});

test('progress is told four times a second at most, and the last of it always; an end is told at once and in its place', () => {
  vi.useFakeTimers();
  try {
    const events = new AgentEvents();
    const told: (number | string)[] = [];
    const note = (event: AgentEvent) => event.kind === 'upload' && told.push(event.upload.receivedBytes);
    events.subscribe(note);
    for (const bytes of [1, 2, 3]) events.upload('u', () => report(bytes));
    expect(told).toEqual([]);
    vi.advanceTimersByTime(250);
    expect(told).toEqual([3]);
    events.upload('u', () => report(4));
    events.uploadEnded('u', () => report(10));
    expect(told).toEqual([3, 10]);
    vi.advanceTimersByTime(1000);
    expect(told).toEqual([3, 10]);
    events.uploadEnded('u', () => undefined);
    expect(told).toEqual([3, 10]);
  } finally {
    vi.useRealTimers();
  }
});
