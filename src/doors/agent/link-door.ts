import Fastify, { type FastifyInstance, type FastifyReply } from 'fastify';
import { type AgentCommand, agentCommands } from '../../contract/link.ts';
import { HawserError, toHawserError } from '../../core/errors.ts';
import type { HostAgent } from '../../service/host/host-agent.ts';

/** The agent's side of the link: `POST /agent/v1/{command}` and `GET /agent/v1/events`. Who may connect is the socket's matter. */
export function createLinkDoor(agent: HostAgent): FastifyInstance {
  const app = Fastify({ logger: false, bodyLimit: 1024 * 1024, forceCloseConnections: true });

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

  return app;
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
  await agent.subscribe((event) => {
    if (!gone.signal.aborted) reply.raw.write(`${JSON.stringify(event)}\n`);
  }, gone.signal);
}
