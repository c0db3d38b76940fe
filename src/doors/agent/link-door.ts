import Fastify, { type FastifyInstance, type FastifyReply, type FastifyRequest } from 'fastify';
import { type AgentCommand, agentCommands, LINK_HEADERS } from '../../contract/link.ts';
import { HawserError, toHawserError } from '../../core/errors.ts';
import type { HostAgent } from '../../service/host/host-agent.ts';
import { eventOutbox } from './event-outbox.ts';
import { peerOf, type TlsIdentity, tlsListener } from './tls-listener.ts';

/** The agent's side of the link: `POST /agent/v1/{command}` and `GET /agent/v1/events`. Who may connect is the socket's matter. */
export function createLinkDoor(agent: HostAgent): FastifyInstance {
  const app = Fastify({ logger: false, bodyLimit: 1024 * 1024, forceCloseConnections: true });
  linkRoutes(app, agent);
  return app;
}

/** How the process stands among those that have had this host. */
export interface LinkStanding {
  readonly generation: number;
  readonly minLinkVersion: number;
  /** Another process has the host now. */
  readonly fenced: HawserError | undefined;
}

/** The same for control in another process, over mutual TLS: from control's certificate only, and only while this process has the host. */
export function createTlsLinkDoor(
  agent: HostAgent,
  tls: TlsIdentity,
  standing: () => LinkStanding,
): { readonly app: FastifyInstance; renew(tls: TlsIdentity): void } {
  const listener = tlsListener(tls);
  listener.app.addHook('onRequest', async (request) => {
    if (peerOf(request).kind !== 'control') {
      throw new HawserError('forbidden', 'Agents take commands from control only.');
    }
    mustFit(request, standing());
  });
  linkRoutes(listener.app, agent);
  return listener;
}

function mustFit({ headers }: FastifyRequest, { generation, minLinkVersion, fenced }: LinkStanding): void {
  if (fenced !== undefined) throw new HawserError('unavailable', fenced.message);
  const version = Number(headers[LINK_HEADERS.version]);
  if (!(version >= minLinkVersion)) {
    throw new HawserError(
      'unsupported',
      `This control is too old for the agent: it speaks link version ${version}, the agent wants ${minLinkVersion} or later. Install the version of the agent on control.`,
    );
  }
  if (Number(headers[LINK_HEADERS.generation]) > generation) {
    throw new HawserError('unavailable', 'Control means a later process of this host; this one has been replaced.');
  }
}

function linkRoutes(app: FastifyInstance, agent: HostAgent): void {
  app.post<{ Params: { command: string }; Body: unknown }>('/agent/v1/:command', async (request, reply) => {
    try {
      return await perform(agent, request.params.command, request.body);
    } catch (error) {
      const { code, message, details } = toHawserError(error);
      return reply.status(code === 'not-found' ? 404 : 409).send({ error: { code, message, details } });
    }
  });

  app.get('/agent/v1/events', async (_request, reply) => {
    reply.hijack();
    await streamEvents(agent, reply);
  });
}

async function perform(agent: HostAgent, command: string, body: unknown): Promise<unknown> {
  if (!isCommand(command))
    throw new HawserError('unsupported', `This agent knows no command ${command}; it may be too old.`);
  const parsed = agentCommands[command].request.safeParse(body ?? {});
  if (!parsed.success)
    throw new HawserError('bad-request', `The command ${command} was not understood: ${parsed.error.message}`);
  return dispatch(agent, command, parsed.data);
}

/** The schema that has just parsed `request` is the one of `command`; TypeScript cannot tie the two together. */
function dispatch<C extends AgentCommand>(agent: HostAgent, command: C, request: unknown): Promise<unknown> {
  return agent.call(command, request as Parameters<typeof agent.call<C>>[1]);
}

function isCommand(name: string): name is AgentCommand {
  return Object.hasOwn(agentCommands, name);
}

async function streamEvents(agent: HostAgent, reply: FastifyReply): Promise<void> {
  const gone = new AbortController();
  reply.raw.on('close', () => gone.abort());
  reply.raw.writeHead(200, { 'content-type': 'application/x-ndjson' });
  const tell = eventOutbox(reply.raw);
  await agent.subscribe((event) => {
    if (!gone.signal.aborted) tell(event);
  }, gone.signal);
}
