import type { z } from 'zod';
import type { TaskResource, taskEventResource } from '../../contract/api/task.ts';
import type { Task, TaskEvent } from '../../core/nouns.ts';

export function taskResourceOf(task: Task): TaskResource {
  return {
    id: task.id,
    kind: task.kind,
    state: task.state,
    status: task.status,
    cause: task.cause,
    imageId: task.imageId,
    imageName: task.imageName,
    uploadId: task.uploadId,
    doneBytes: task.doneBytes,
    totalBytes: task.totalBytes,
    rate: task.rate === null ? null : Math.round(task.rate),
    result: task.result === null ? null : { ...task.result },
    owner: task.owner,
    actions: [...task.actions],
    createdAt: task.createdAt.toISOString(),
    startedAt: task.startedAt?.toISOString() ?? null,
    endedAt: task.endedAt?.toISOString() ?? null,
  };
}

export function taskEventResourceOf(event: TaskEvent): z.infer<typeof taskEventResource> {
  return { at: event.at.toISOString(), from: event.from, to: event.to, cause: event.cause, status: event.status };
}
