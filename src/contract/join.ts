import { z } from 'zod';

/**
 * What an agent says to control's agent listener, over TLS: `POST /agent/v1/join` once, with a token, and
 * `POST /agent/v1/heartbeat` with the certificate that it got, and what it wants to know of another agent. Errors are those of the link. These shapes
 * stay readable across versions: by them control and agent find out that one of them is too old.
 */
const id = z.uuid();

/** How a host is reached and who runs there; the Stores come over the link. */
export const hostFacts = z.object({
  hostId: id,
  name: z.string().min(1).max(255),
  bootId: z.string(),
  version: z.string(),
  linkVersion: z.number().int(),
  minLinkVersion: z.number().int(),
  dataUrls: z.array(z.string()),
  dataCa: z.string().nullable(),
  agentUrl: z.string().nullable(),
  tags: z.array(z.string()),
});
export type HostFacts = z.infer<typeof hostFacts>;

/** A wish for a certificate: the names and addresses it shall be good for. */
const wish = z.object({ csr: z.string().max(16_384), names: z.array(z.string().max(255)).max(64) });
export type CertificateWish = z.infer<typeof wish>;

export const joinRequest = z.object({ token: z.string(), wish, host: hostFacts });
export type JoinRequest = z.infer<typeof joinRequest>;

export const joinAnswer = z.object({
  generation: z.number().int(),
  /** PEM: the agent's certificate and the authority's after it. */
  certificate: z.string(),
  /** Agent listeners of the controls that live now, for when this one does not answer. */
  controls: z.array(z.string()),
});
export type JoinAnswer = z.infer<typeof joinAnswer>;

export const heartbeatRequest = z.object({
  generation: z.number().int(),
  /** The first one of this process: it takes the host over, and older ones are fenced off. */
  begins: z.boolean(),
  host: hostFacts,
  wish: wish.nullable(),
});
export type HeartbeatRequest = z.infer<typeof heartbeatRequest>;

export const heartbeatAnswer = z.object({
  /**
   * `fenced`: another process has this host's identity now. `outdated`: the one of the two that is too old
   * must be replaced. `removed`: an administrator took the host out.
   */
  verdict: z.enum(['accepted', 'fenced', 'outdated', 'removed']),
  /** For people; empty when accepted. */
  reason: z.string(),
  generation: z.number().int(),
  certificate: z.string().nullable(),
  controls: z.array(z.string()),
});
export type HeartbeatAnswer = z.infer<typeof heartbeatAnswer>;

/** `POST /agent/v1/peer`: whether a certificate of this host and key still counts. */
export const peerQuestion = z.object({ hostId: id, keyHash: z.string() });
export const peerAnswer = z.object({ known: z.boolean() });

/** What `hawser agent --join` takes: where control is, how to know it again, and the right to join once. */
export const joinSecret = z.object({
  urls: z.array(z.string()).min(1),
  /** SHA-256 of the authority's certificate, hex. */
  authority: z.string().regex(/^[0-9a-f]{64}$/),
  token: z.string().min(16),
});
export type JoinSecret = z.infer<typeof joinSecret>;
export const JOIN_PREFIX = 'hj1.';
