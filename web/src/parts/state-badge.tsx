import type { ReactNode } from 'react';
import type { HostState } from '../../../src/core/nouns.ts';
import type { CopyState, ImageState, TaskState } from '../../../src/core/states.ts';

type Tone = 'good' | 'busy' | 'wait' | 'bad' | 'plain';
type Label = readonly [tone: Tone, text: string];

const images = {
  pending: ['plain', 'Waiting'],
  'in-progress': ['busy', 'Receiving'],
  verifying: ['busy', 'Verifying'],
  ready: ['good', 'Ready'],
  failed: ['bad', 'Failed'],
  deleted: ['plain', 'Deleted'],
} as const satisfies Record<ImageState, Label>;

const tasks = {
  INITIATED: ['plain', 'Starting'],
  RUNNING: ['busy', 'Running'],
  PAUSED: ['wait', 'Paused'],
  HALTED: ['wait', 'Halted'],
  SUCCESS: ['good', 'Done'],
  FAILURE: ['bad', 'Failed'],
  CANCELLED: ['plain', 'Cancelled'],
} as const satisfies Record<TaskState, Label>;

const copies = {
  pending: ['plain', 'Waiting'],
  'in-progress': ['busy', 'Receiving'],
  ready: ['good', 'Ready'],
  unknown: ['wait', 'Not known'],
  failed: ['bad', 'Failed'],
  removing: ['plain', 'Being removed'],
  removed: ['plain', 'Removed'],
} as const satisfies Record<CopyState, Label>;

const stores = {
  online: ['good', 'Online'],
  offline: ['wait', 'Offline'],
  failed: ['bad', 'Failed'],
} as const satisfies Record<string, Label>;

const hosts = {
  online: ['good', 'Online'],
  offline: ['bad', 'Offline'],
  outdated: ['wait', 'Outdated'],
  removed: ['plain', 'Removed'],
} as const satisfies Record<HostState, Label>;

const holds = {
  disabled: ['plain', 'Disabled'],
  draining: ['wait', 'Draining'],
  drained: ['good', 'Drained'],
  evicting: ['wait', 'Evicting'],
  evicted: ['good', 'Evicted'],
} as const satisfies Record<string, Label>;

export const ImageStateBadge = ({ state }: { readonly state: ImageState }) => <Badge label={images[state]} />;
export const TaskStateBadge = ({ state }: { readonly state: TaskState }) => <Badge label={tasks[state]} />;
export const CopyStateBadge = ({ state }: { readonly state: CopyState }) => <Badge label={copies[state]} />;
export const StoreStateBadge = ({ state }: { readonly state: keyof typeof stores }) => <Badge label={stores[state]} />;

export const HostStateBadge = ({ state }: { readonly state: HostState }) => <Badge label={hosts[state]} />;
/** What keeps new Copies away by a person's word. */
export const HoldBadge = ({ hold }: { readonly hold: keyof typeof holds }) => <Badge label={holds[hold]} />;

export function taskStateText(state: TaskState): string {
  return tasks[state][1];
}

function Badge({ label: [tone, text] }: { readonly label: Label }) {
  const style = { '--h-tone': `var(--h-${tone})`, '--h-tone-soft': `var(--h-${tone}-soft)` } as React.CSSProperties;
  return (
    <span className="h-state" style={style}>
      <svg
        width="12"
        height="12"
        viewBox="0 0 12 12"
        aria-hidden="true"
        fill="none"
        stroke="currentColor"
        strokeWidth="2"
      >
        {marks[tone]}
      </svg>
      {text}
    </span>
  );
}

/** Each tone has a shape of its own, so that colour is never the only sign. */
const marks: Record<Tone, ReactNode> = {
  good: <path d="M2 6.500 5 9.500 10.500 3" strokeLinecap="round" strokeLinejoin="round" />,
  busy: <path d="M2 4 6 8 10 4" strokeLinecap="round" strokeLinejoin="round" transform="rotate(180 6 6)" />,
  wait: <path d="M4 2.500v7M8 2.500v7" strokeLinecap="round" />,
  bad: <path d="M3 3l6 6M9 3l-6 6" strokeLinecap="round" />,
  plain: <circle cx="6" cy="6" r="3.500" />,
};
