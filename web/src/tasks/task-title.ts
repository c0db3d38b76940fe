import type { TaskResource } from '../../../src/contract/api/task.ts';

const verbs = {
  upload: 'Upload',
  download: 'Download',
  clone: 'Clone',
  replicate: 'Copy',
  verify: 'Verify',
  digest: 'Digest',
} as const satisfies Record<TaskResource['kind'], string>;

export function taskKindText(kind: TaskResource['kind']): string {
  return verbs[kind];
}

/** `Upload debian-13.qcow2` */
export function taskTitle(task: TaskResource): string {
  return `${verbs[task.kind]} ${task.imageName ?? 'a deleted Image'}`;
}

/** What a person should do about it, beside the status. */
export function causeAdvice(task: TaskResource): string | undefined {
  switch (task.cause) {
    case 'client-away':
      return 'Nothing arrives. Drop the same file on this page again, or run the same hawser command again; it goes on where it stopped.';
    case 'user':
      return 'Paused by a person. Resume it when it may go on.';
    case 'store-full':
      return 'Free space on the Store (see Stores), then resume.';
    case 'unavailable':
      return 'The host of the Store does not answer; it goes on when it is back.';
    case 'digest-mismatch':
      return 'The bytes are not the expected ones. Check the file and its digest, then upload it again.';
    default:
      return undefined;
  }
}
