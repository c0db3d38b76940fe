import type { FastifyInstance } from 'fastify';
import { taskEvents, taskPage, taskQuery, taskResource } from '../../contract/api/task.ts';
import { HawserError } from '../../core/errors.ts';
import type { TaskAction } from '../../core/nouns.ts';
import { statesOf, type TaskState, taskStates } from '../../core/states.ts';
import { type ApiScope, idParams, problems, typed } from './api-scope.ts';
import { actorOf } from './authenticate.ts';
import { taskEventResourceOf, taskResourceOf } from './task-resource.ts';

const tags = ['tasks'];

export function taskRoutes(app: FastifyInstance, { useCases: { tasks } }: ApiScope): void {
  typed(app).get(
    '/tasks',
    {
      schema: {
        operationId: 'listTasks',
        tags,
        summary: 'Tasks, newest first',
        querystring: taskQuery,
        response: { 200: taskPage, ...problems },
      },
    },
    async (request) => {
      const { state, ...query } = request.query;
      const page = await tasks.list(actorOf(request), { ...query, states: taskStatesIn(state) });
      return { items: page.items.map(taskResourceOf), next: page.next };
    },
  );
  typed(app).get(
    '/tasks/:id',
    {
      schema: {
        operationId: 'showTask',
        tags,
        summary: 'One Task',
        params: idParams,
        response: { 200: taskResource, ...problems },
      },
    },
    async (request) => taskResourceOf(await tasks.get(actorOf(request), request.params.id)),
  );
  typed(app).get(
    '/tasks/:id/events',
    {
      schema: {
        operationId: 'taskHistory',
        tags,
        summary: 'Its history: every change of state, oldest first',
        params: idParams,
        response: { 200: taskEvents, ...problems },
      },
    },
    async (request) => {
      const events = await tasks.events(actorOf(request), request.params.id);
      return { items: events.map(taskEventResourceOf) };
    },
  );
  for (const action of ['pause', 'resume', 'cancel'] as const satisfies readonly TaskAction[]) {
    typed(app).post(
      `/tasks/:id/${action}`,
      {
        schema: {
          operationId: `${action}Task`,
          tags,
          summary: actionSummary[action],
          params: idParams,
          response: { 200: taskResource, ...problems },
        },
      },
      async (request) => taskResourceOf(await tasks[action](actorOf(request), request.params.id)),
    );
  }
}

const actionSummary = {
  pause: 'Stop it for now; what was done is kept',
  resume: 'Let it go on',
  cancel: 'Stop it for good; an Upload gives its space back',
} as const satisfies Record<TaskAction, string>;

/** `RUNNING,PAUSED`; case does not matter. */
function taskStatesIn(text: string | undefined): readonly TaskState[] | undefined {
  if (text === undefined || text === '') return undefined;
  const known = statesOf(taskStates);
  return text.split(',').map((word) => {
    const state = known.find((candidate) => candidate === word.trim().toUpperCase());
    if (state === undefined) {
      throw new HawserError(
        'bad-request',
        `"state" in the query is one or several of ${known.join(', ')}, divided by commas; found "${word.slice(0, 40)}".`,
      );
    }
    return state;
  });
}
