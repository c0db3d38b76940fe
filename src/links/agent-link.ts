import { request as httpRequest, type IncomingMessage, Agent as PlainAgent, type RequestOptions } from 'node:http';
import { request as httpsRequest, Agent as TlsAgent } from 'node:https';
import { setTimeout } from 'node:timers/promises';
import type { PeerCertificate } from 'node:tls';
import {
  type AgentCommand,
  type AgentEvent,
  type AgentLink,
  type AgentRequest,
  type AgentResponse,
  agentCommands,
  agentEvent,
  LINK_HEADERS,
  LINK_VERSION,
  linkError,
} from '../contract/link.ts';
import { HawserError, isErrorCode, toHawserError } from '../core/errors.ts';
import { otherHost } from '../tls/host-check.ts';

/** A stream that says nothing for so long is dead: the agent speaks at least every two seconds. */
const SILENCE_MS = 10_000;
const RECONNECT_MS = 500;
const CONNECT_MS = 5_000;

/** An agent in another process. */
export interface RemoteAgent {
  readonly hostId: string;
  /** As in HostIdentity: whoever answers must have this key. */
  readonly keyHash: string | null;
  /** `https://HOST:PORT` of its link listener. */
  readonly url: string;
  readonly generation: number;
  /** The authority of the agents, PEM. */
  readonly ca: string;
  /** The certificate that this control shows, PEM; asked for each connection, since it is renewed. */
  readonly keys: () => { readonly key: string; readonly cert: string };
  /** Called when the agent cannot be reached or refuses us, and with undefined once it can be again. */
  readonly trouble: (problem: HawserError | undefined) => void;
}

/** Speaks to the agent of this process over its unix socket. A lost connection is `unavailable`; commands may be repeated. */
export function connectAgent(socketPath: string): AgentLink {
  const agent = new PlainAgent({ keepAlive: true, maxSockets: 32 });
  return linkOver({
    request: (options, answer) => httpRequest({ agent, socketPath, ...options }, answer),
    away: 'The agent of this host does not answer. It is started with hawser serve.',
    trouble: () => {},
  });
}

/** Speaks to an agent over mutual TLS. Whoever answers must hold the certificate of that very host. */
export function connectRemoteAgent(remote: RemoteAgent): AgentLink {
  const agent = new TlsAgent({ keepAlive: true, keepAliveMsecs: 5_000, maxSockets: 32 });
  const { hostname, port } = new URL(remote.url);
  const wanted = { id: remote.hostId, keyHash: remote.keyHash };
  return linkOver({
    request: (options, answer) =>
      httpsRequest(
        {
          agent,
          host: hostname.replace(/^\[|\]$/g, ''),
          port,
          ca: remote.ca,
          ...remote.keys(),
          checkServerIdentity: (name: string, shown: PeerCertificate) => otherHost(wanted, name, shown),
          ...options,
          headers: {
            ...options.headers,
            [LINK_HEADERS.version]: String(LINK_VERSION),
            [LINK_HEADERS.generation]: String(remote.generation),
          },
        },
        answer,
      ),
    away: `The agent at ${remote.url} does not answer.`,
    trouble: remote.trouble,
  });
}

interface Wire {
  request(options: RequestOptions, answer: (response: IncomingMessage) => void): ReturnType<typeof httpRequest>;
  readonly away: string;
  trouble(problem: HawserError | undefined): void;
}

function linkOver(wire: Wire): AgentLink {
  return {
    call: (command, request, signal) => call(wire, { command, request }, signal),
    events: (signal) => events(wire, signal),
  };
}

async function call<C extends AgentCommand>(
  wire: Wire,
  { command, request }: { readonly command: C; readonly request: AgentRequest<C> },
  signal: AbortSignal | undefined,
): Promise<AgentResponse<C>> {
  const body = JSON.stringify(request);
  const headers = { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) };
  const response = await send(wire, { method: 'POST', path: `/agent/v1/${command}`, headers, signal }, body);
  const text = await readText(response);
  if (response.statusCode === 200) return agentCommands[command].response.parse(JSON.parse(text)) as AgentResponse<C>;
  throw refusalOf(response, text, command);
}

async function* events(wire: Wire, signal: AbortSignal): AsyncGenerator<AgentEvent> {
  while (!signal.aborted) {
    try {
      const response = await send(wire, {
        method: 'GET',
        path: '/agent/v1/events',
        signal,
        timeout: SILENCE_MS,
      });
      if (response.statusCode !== 200) throw refusalOf(response, await readText(response), 'events');
      for await (const line of lines(response)) yield agentEvent.parse(JSON.parse(line));
    } catch (error) {
      if (signal.aborted) return;
      wire.trouble(toHawserError(error, 'unavailable'));
    }
    await setTimeout(RECONNECT_MS, undefined, { signal }).catch(() => {}); // an abort ends the loop above
  }
}

function refusalOf(response: IncomingMessage, text: string, command: string): HawserError {
  const failed = linkError.safeParse(tryJson(text));
  if (!failed.success)
    return new HawserError('unavailable', `The agent answered ${response.statusCode} to ${command}.`);
  const { code, message, details } = failed.data.error;
  return new HawserError(isErrorCode(code) ? code : 'internal', message, { details });
}

function send(wire: Wire, options: RequestOptions, body?: string): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    const request = wire.request(options, resolve);
    const connecting = globalThis.setTimeout(() => {
      request.destroy(new HawserError('unavailable', `${wire.away} No connection came about within 5 s.`));
    }, CONNECT_MS);
    const connected = () => clearTimeout(connecting);
    request.on('socket', (socket) => {
      if (request.reusedSocket) connected();
      else socket.once('encrypted' in socket ? 'secureConnect' : 'connect', connected);
    });
    request.on('close', connected);
    request.on('error', (cause) => reject(lost(wire, cause)));
    request.on('timeout', () => request.destroy(new HawserError('unavailable', 'The agent has fallen silent.')));
    request.end(body);
  });
}

function lost(wire: Wire, cause: Error): HawserError {
  if (cause instanceof HawserError) return cause;
  const reason = 'code' in cause ? ` The reason: ${tlsReasons.get(String(cause.code)) ?? String(cause.code)}.` : '';
  return new HawserError('unavailable', `${wire.away}${reason}`, { cause });
}

const tlsReasons: ReadonlyMap<string, string> = new Map([
  ['SELF_SIGNED_CERT_IN_CHAIN', 'its certificate is of another authority: it belongs to another control'],
  ['DEPTH_ZERO_SELF_SIGNED_CERT', 'its certificate is of no authority: no agent of ours'],
  ['UNABLE_TO_VERIFY_LEAF_SIGNATURE', 'its certificate is of another authority: it belongs to another control'],
  ['UNABLE_TO_GET_ISSUER_CERT_LOCALLY', 'its certificate is of another authority: it belongs to another control'],
  ['CERT_SIGNATURE_FAILURE', 'its certificate is of another authority: it belongs to another control'],
  ['CERT_HAS_EXPIRED', 'its certificate has expired'],
]);

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
