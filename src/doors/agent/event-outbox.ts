import type { Writable } from 'node:stream';
import type { AgentEvent } from '../../contract/link.ts';

/**
 * Writes events to control, one a line. While control is behind with reading, of each thing only the latest is kept:
 * each event says all of its thing, so nothing is missed, and what waits does not grow with time.
 */
export function eventOutbox(stream: Writable): (event: AgentEvent) => void {
  const waiting = new Map<string, AgentEvent>();
  let behind = false;
  const send = (event: AgentEvent) => {
    behind = !stream.write(`${JSON.stringify(event)}\n`);
  };
  stream.on('drain', () => {
    behind = false;
    for (const [thing, event] of waiting) {
      waiting.delete(thing);
      send(event);
      if (behind) return;
    }
  });
  return (event) => {
    if (stream.destroyed) return;
    if (behind) waiting.set(thingOf(event), event);
    else send(event);
  };
}

function thingOf(event: AgentEvent): string {
  if (event.kind === 'upload') return `upload ${event.upload.uploadId}`;
  if (event.kind === 'work') return `work ${event.work.taskId}`;
  return event.kind;
}
