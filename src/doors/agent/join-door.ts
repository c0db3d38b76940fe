import type { FastifyInstance } from 'fastify';
import type { z } from 'zod';
import { heartbeatRequest, joinRequest, peerQuestion } from '../../contract/join.ts';
import { HawserError } from '../../core/errors.ts';
import type { AgentDoorUseCases } from '../../service/control/joining.ts';
import { peerOf, type TlsIdentity, tlsListener } from './tls-listener.ts';

/** Control's agent listener: `POST /agent/v1/join` with a token, `POST /agent/v1/heartbeat` with an agent's certificate. */
export function createJoinDoor(
  agents: AgentDoorUseCases,
  tls: TlsIdentity,
): { readonly app: FastifyInstance; renew(tls: TlsIdentity): void } {
  const listener = tlsListener(tls);
  const { app } = listener;
  app.post('/agent/v1/join', (request) => agents.join(parsed(joinRequest, request.body)));
  app.post('/agent/v1/heartbeat', async (request) => {
    const peer = peerOf(request);
    const beat = parsed(heartbeatRequest, request.body);
    if (peer.kind !== 'agent' || peer.id !== beat.host.hostId) {
      throw new HawserError('forbidden', 'The certificate that was shown is not the one of this host.');
    }
    return agents.heartbeat({ ...beat, keyHash: peer.keyHash });
  });
  app.post('/agent/v1/peer', async (request) => {
    const peer = peerOf(request);
    if (peer.kind !== 'agent' || !(await agents.knows(peer))) {
      throw new HawserError('forbidden', 'The certificate that was shown is of no host that is here now.');
    }
    const { hostId, keyHash } = parsed(peerQuestion, request.body);
    return { known: await agents.knows({ id: hostId, keyHash }) };
  });
  return listener;
}

function parsed<T>(schema: z.ZodType<T>, body: unknown): T {
  const result = schema.safeParse(body);
  if (result.success) return result.data;
  throw new HawserError(
    'unsupported',
    `Control does not understand this agent: ${result.error.message}. Install the same version on both.`,
  );
}
