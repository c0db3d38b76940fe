import { type ApiClient, allOf } from '../../client/api-client.ts';
import { systemClock } from '../../client/system-clock.ts';
import type { TaskResource } from '../../contract/api/task.ts';
import { isErrorCode } from '../../core/errors.ts';
import { isTerminal, taskStates } from '../../core/states.ts';
import { connected } from '../connect.ts';
import { exitCodeOf, exitCodes } from '../exit-codes.ts';
import { findTask } from '../find-image.ts';
import { ProgressLine } from '../progress-line.ts';
import { type GlobalOptions, note, outWidth, print, printJson, stopSignal } from '../terminal.ts';
import { formatBytes, percent, printable, table } from '../text.ts';

const POLL_MS = 500;
const alive = 'INITIATED,RUNNING,PAUSED,HALTED';

export async function listTasks(
  options: GlobalOptions & { readonly state?: string; readonly all?: boolean },
): Promise<void> {
  const state = options.state ?? (options.all === true ? undefined : alive);
  await connected(options, async ({ api }) => {
    const query = state === undefined ? {} : { state };
    const pages = allOf((cursor) => api.tasks({ ...query, limit: 500, ...(cursor === undefined ? {} : { cursor }) }));
    const tasks = await Array.fromAsync(pages);
    if (options.json === true) return printJson({ items: tasks });
    if (tasks.length === 0) return note('No task is alive. hawser task ls --all shows the ended ones.', options);
    print(table(['ID', 'KIND', 'IMAGE', 'STATE', 'DONE', 'SPEED', 'STATUS'], tasks.map(taskRow), outWidth()));
  });
}

function taskRow(task: TaskResource): readonly string[] {
  return [
    task.id.slice(0, 8),
    task.kind,
    task.imageName ?? '',
    task.state,
    task.totalBytes === null ? formatBytes(task.doneBytes) : percent(task.doneBytes, task.totalBytes),
    task.rate === null ? '' : `${formatBytes(task.rate)}/s`,
    task.status,
  ];
}

export async function showTask(text: string, options: GlobalOptions): Promise<void> {
  await connected(options, async ({ api }) => {
    const task = await findTask(api, text);
    const events = await api.taskEvents(task.id);
    if (options.json === true) return printJson({ ...task, events });
    const total = task.totalBytes === null ? '' : ` of ${formatBytes(task.totalBytes)}`;
    const facts: readonly (readonly [string, string])[] = [
      ['id', task.id],
      ['kind', task.kind],
      ['image', task.imageName ?? ''],
      ['state', task.state],
      ['status', task.status],
      ['cause', task.cause ?? ''],
      ['done', `${formatBytes(task.doneBytes)}${total}`],
      ['from', textOf(task.result?.from)],
      ['to', textOf(task.result?.to)],
      ['result', resultText(task.result)],
      ['actions', task.actions.join(', ')],
      ['owner', task.owner],
      ['created', task.createdAt],
      ['ended', task.endedAt ?? ''],
    ];
    for (const [label, value] of facts) if (value !== '') print(`${label.padEnd(9)} ${printable(value)}`);
    for (const { at, cause, status, to } of events) {
      print(`  ${at}  ${to}${cause === null ? '' : ` (${cause})`}  ${printable(status)}`);
    }
  });
}

function textOf(value: unknown): string {
  return typeof value === 'string' ? value : '';
}

/** What is not said otherwise. */
function resultText(result: TaskResource['result']): string {
  const { from: _from, to: _to, ...rest } = result ?? {};
  return Object.keys(rest).length === 0 ? '' : JSON.stringify(rest);
}

export async function watchTask(text: string, options: GlobalOptions): Promise<number> {
  return await connected(options, async ({ api }) => await follow(api, await findTask(api, text), options));
}

/** Shows its progress until it ends; resolves with the exit code of how it ended. Ctrl-C ends the watching only. */
export async function follow(api: ApiClient, begun: TaskResource, options: GlobalOptions): Promise<number> {
  const { signal, release } = stopSignal();
  let task = begun;
  try {
    using line = new ProgressLine(task.imageName ?? task.id, options);
    while (!isTerminal(taskStates, task.state)) {
      const stands = task.state === 'PAUSED' || task.state === 'HALTED';
      const waiting = stands ? task.status || task.state : null;
      line.update({ doing: task.kind, done: task.doneBytes, total: task.totalBytes, waiting });
      await systemClock.delay(POLL_MS, signal);
      task = await api.task(task.id, signal);
    }
  } finally {
    release();
  }
  const { cause, imageName, kind, state, status } = task;
  if (options.json === true) printJson({ event: 'done', task });
  else
    note(
      `${kind} of ${printable(imageName ?? '?')}: ${state}${status === '' ? '' : `, ${printable(status)}`}`,
      options,
    );
  if (state === 'SUCCESS') return exitCodes.ok;
  if (state === 'CANCELLED') return exitCodes.refused;
  return isErrorCode(cause) ? exitCodeOf[cause] : exitCodes.failed;
}

export async function actOnTask(
  text: string,
  action: 'pause' | 'resume' | 'cancel',
  options: GlobalOptions,
): Promise<void> {
  await connected(options, async ({ api }) => {
    const task = await api.actOnTask((await findTask(api, text)).id, action);
    if (options.json === true) printJson(task);
    else note(`${task.kind} of ${printable(task.imageName ?? '?')} is ${task.state} now.`, options);
  });
}
