import { Agent, request as httpRequest, type IncomingMessage, type RequestOptions } from 'node:http';
import { setTimeout } from 'node:timers/promises';
import {
  type AgentCommand,
  type AgentEvent,
  type AgentLink,
  type AgentRequest,
  type AgentResponse,
  agentCommands,
  agentEvent,
  linkError,
} from '../contract/link.ts';
import { HawserError, isErrorCode, toHawserError } from '../core/errors.ts';

/** A stream that says nothing for so long is dead: the agent speaks at least every two seconds. */
const SILENCE_MS = 10_000;
const RECONNECT_MS = 500;

/** Speaks to an agent over its unix socket. A lost connection is `unavailable`; commands may be repeated. */
export function connectAgent(socketPath: string): AgentLink {
  const pool = new Agent({ keepAlive: true, maxSockets: 32 });
  return {
    call: (command, request, signal) => call(pool, socketPath, { command, request }, signal),
    events: (signal) => events(socketPath, signal),
  };
}

async function call<C extends AgentCommand>(
  agent: Agent,
  socketPath: string,
  { command, request }: { readonly command: C; readonly request: AgentRequest<C> },
  signal: AbortSignal | undefined,
): Promise<AgentResponse<C>> {
  const body = JSON.stringify(request);
  const headers = { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) };
  const response = await send(
    { agent, socketPath, method: 'POST', path: `/agent/v1/${command}`, headers, signal },
    body,
  );
  const text = await readText(response);
  if (response.statusCode === 200) return agentCommands[command].response.parse(JSON.parse(text)) as AgentResponse<C>;
  const failed = linkError.safeParse(tryJson(text));
  if (!failed.success) throw new HawserError('unavailable', `The agent answered ${response.statusCode} to ${command}.`);
  const { code, message, details } = failed.data.error;
  throw new HawserError(isErrorCode(code) ? code : 'internal', message, { details });
}

async function* events(socketPath: string, signal: AbortSignal): AsyncGenerator<AgentEvent> {
  while (!signal.aborted) {
    try {
      const response = await send({ socketPath, method: 'GET', path: '/agent/v1/events', signal, timeout: SILENCE_MS });
      for await (const line of lines(response)) yield agentEvent.parse(JSON.parse(line));
    } catch (error) {
      if (signal.aborted) return;
      if (toHawserError(error, 'unavailable').code !== 'unavailable') throw error;
    }
    await setTimeout(RECONNECT_MS, undefined, { signal }).catch(() => {}); // an abort ends the loop above
  }
}

function send(options: RequestOptions, body?: string): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    const lost = (cause: unknown) =>
      reject(
        new HawserError('unavailable', 'The agent of this host does not answer. It is started with hawser serve.', {
          cause,
        }),
      );
    const request = httpRequest(options, resolve);
    request.on('error', lost);
    request.on('timeout', () => request.destroy(new HawserError('unavailable', 'The agent has fallen silent.')));
    request.end(body);
  });
}

async function readText(response: IncomingMessage): Promise<string> {
  try {
    let text = '';
    response.setEncoding('utf8');
    for await (const part of response) text += part;
    return text;
  } catch (cause) {
    throw new HawserError('unavailable', 'The connection to the agent broke; the command can be repeated.', { cause });
  }
}

async function* lines(response: IncomingMessage): AsyncGenerator<string> {
  response.setEncoding('utf8');
  let rest = '';
  try {
    for await (const part of response) {
      const parts = (rest + part).split('\n');
      rest = parts.pop() ?? '';
      yield* parts;
    }
  } catch (cause) {
    throw new HawserError('unavailable', 'The event stream of the agent broke.', { cause });
  }
}

function tryJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
