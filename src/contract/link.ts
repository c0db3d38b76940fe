import { z } from 'zod';
import { imageFormats } from '../core/formats.ts';
import { copyStates, statesOf, uploadStates } from '../core/states.ts';
import { hostIdentity } from './host-identity.ts';

/**
 * The link between control and an agent: commands (control asks, `POST /agent/v1/{command}` with a
 * JSON body) and one stream of reports (`GET /agent/v1/events`, one JSON object a line, the first one
 * `full`). It runs over a unix socket inside `serve` and over mutual TLS between machines; the same
 * path either way. Bytes never go over it.
 *
 * Errors are answered as `{error: {code, message, details}}`.
 */
export const LINK_VERSION = 1;
/** Headers of every request to an agent in another process: what control speaks, and which of its host's processes it means. */
export const LINK_HEADERS = { version: 'hawser-link-version', generation: 'hawser-host-generation' } as const;
export const MIN_LINK_VERSION = 1;

const bytes = z.number().int().nonnegative();
const id = z.uuid();
const timestamp = z.iso.datetime();

const uploadRef = z.object({ uploadId: id, generation: z.number().int() });
const copyRef = z.object({ storeId: id, key: z.string() });

/** What the agent knows of one Upload. The agent's journal owns ranges; the database owns existence and state. */
export const uploadReport = z.object({
  uploadId: id,
  /** A command or report of an older generation is ignored by both sides. */
  generation: z.number().int(),
  state: z.enum(statesOf(uploadStates)),
  declaredSize: bytes.nullable(),
  receivedBytes: bytes,
  /** Of receivedBytes, those that are zeros and take no space. */
  zeroBytes: bytes,
  /** When bytes last arrived. */
  activeAt: timestamp.nullable(),
  /** Connections that send bytes right now. */
  connections: z.number().int(),
  /** Why it cannot go on now, if so. */
  problem: z.object({ code: z.string(), message: z.string() }).nullable(),
  /**
   * How the agent's own fetching of its bytes stands; null: nobody has asked it to (again) since it
   * started, control then calls `startPull`. `done`: every byte is here, finish may be called. `failed`
   * stands with `problem`; control decides whether and from where it is tried again.
   */
  pull: z.enum(['running', 'waiting', 'done', 'failed']).nullable().default(null),
  /** Set once sealed. */
  sealed: z
    .object({
      size: bytes,
      storedSize: bytes,
      /** hex of tree-sha256 */
      treeDigest: z.string(),
      /** Flat digests that were computed as the bytes passed, algorithm to hex. */
      digests: z.record(z.string(), z.string()),
      format: z.enum(imageFormats),
      virtualSize: bytes,
      fingerprint: z.string(),
    })
    .nullable(),
});
export type UploadReport = z.infer<typeof uploadReport>;

export const storeReport = z.object({
  storeId: id,
  name: z.string(),
  driver: z.string(),
  capacity: bytes,
  free: bytes,
  tags: z.array(z.string()).default([]),
  /** Stores of this host with the same word lie on one filesystem and share its space. */
  filesystem: z.string().nullish(),
  /** Why it cannot be used now, if so. */
  problem: z.string().nullable(),
});
export type StoreReport = z.infer<typeof storeReport>;

/** Work that an agent does for a Task on a sealed Copy. */
export const workReport = z.object({
  taskId: id,
  generation: z.number().int(),
  state: z.enum(['running', 'paused', 'done', 'failed', 'cancelled']),
  doneBytes: bytes,
  totalBytes: bytes,
  problem: z.object({ code: z.string(), message: z.string(), details: z.record(z.string(), z.unknown()) }).nullable(),
  /** `verify`: {treeDigest, damaged: [{offset,length}]}; `digest`: {algorithm, hex}. */
  result: z.record(z.string(), z.unknown()).nullable(),
});
export type WorkReport = z.infer<typeof workReport>;

export const hostReport = z.object({
  hostId: id,
  name: z.string(),
  bootId: z.string(),
  version: z.string(),
  linkVersion: z.number().int(),
  minLinkVersion: z.number().int(),
  /** Base URLs of the data listener, best first. */
  dataUrls: z.array(z.string()),
  /** PEM that its certificate is verified with; null: the usual roots, or plain HTTP. */
  dataCa: z.string().nullable().default(null),
  /** Where control reaches the link; null: over a unix socket of this process. */
  agentUrl: z.string().nullable().default(null),
  tags: z.array(z.string()).default([]),
  /** Of its membership; null: it never joined, it is in control's own process. */
  generation: z.number().int().nullable().default(null),
  stores: z.array(storeReport),
});
export type HostReport = z.infer<typeof hostReport>;

export const agentEvent = z.discriminatedUnion('kind', [
  /** All of it, first on every connection: what is missing here the agent does not have. */
  z.object({ kind: z.literal('full'), host: hostReport, uploads: z.array(uploadReport), work: z.array(workReport) }),
  z.object({ kind: z.literal('upload'), upload: uploadReport }),
  z.object({ kind: z.literal('work'), work: workReport }),
  z.object({ kind: z.literal('stores'), stores: z.array(storeReport) }),
  /** At least every 2 s when there is nothing else. */
  z.object({ kind: z.literal('alive'), at: timestamp }),
]);
export type AgentEvent = z.infer<typeof agentEvent>;

/** Where an agent fetches the bytes of an Upload from. */
export const pullSource = z.discriminatedUnion('kind', [
  /** A ready Copy at the data listener of an agent (this one too). What arrives is compared with `treeDigest`. */
  z.object({
    kind: z.literal('copy'),
    /** The resource at the data listener, `…/data/v1/copies/STORE/KEY`; a `store` and `key` of this host are read directly. */
    url: z.string(),
    ticket: z.string(),
    /** PEM that the data listener's certificate is verified with; null: the usual roots. */
    ca: z.string().nullable(),
    /** The host whose certificate must be shown there; null: it says nothing of hosts. */
    host: hostIdentity.nullish(),
    size: bytes,
    /** hex of tree-sha256 */
    treeDigest: z.string().nullable(),
    /** Set when the Copy lies on this very host: it is cloned where the Store can. */
    local: copyRef.nullable(),
  }),
  z.object({
    kind: z.literal('url'),
    url: z.string(),
    decompress: z.enum(['none', 'auto']),
  }),
]);
export type PullSource = z.infer<typeof pullSource>;

/** What lies under a key now; control compares the fingerprint with the one of the seal. */
export const copyReport = z.object({
  storeId: id,
  key: z.string(),
  state: z.enum(['sealed', 'writing', 'absent', 'unreachable']),
  size: bytes,
  storedSize: bytes,
  fingerprint: z.string(),
});
export type CopyReport = z.infer<typeof copyReport>;

/** Every command: what goes in, what comes out. */
export const agentCommands = {
  describe: { request: z.object({}), response: hostReport },

  /** Idempotent by uploadId. Throws `store-full`, `too-large`, `not-found` (store). */
  openUpload: {
    request: z.object({
      uploadId: id,
      generation: z.number().int(),
      storeId: id,
      key: z.string(),
      declaredSize: bytes.nullable(),
      /** What a size that was not declared may grow to; null: no limit. */
      maxSize: bytes.nullable().default(null),
      /** Bytes of space to reserve; less than declaredSize for a sparse source. */
      reserve: bytes,
      /** The format that was declared, `auto` when the client leaves it to us. */
      format: z.enum([...imageFormats, 'auto']),
      /** Bytes per second; null: no limit. */
      rateLimit: z.object({ task: bytes.nullable(), user: bytes.nullable(), userId: z.string() }),
      /** Flat digests wanted: computed in passing if the bytes come in order. */
      digests: z.array(z.string()),
      /** What it will be called here; null: it has no name on this host. */
      image: z.object({ id, name: z.string() }).nullable().default(null),
    }),
    response: uploadReport,
  },
  describeUpload: { request: uploadRef, response: uploadReport },
  pauseUpload: { request: uploadRef, response: uploadReport },
  resumeUpload: { request: uploadRef, response: uploadReport },
  /**
   * Idempotent; copies nothing. Throws `incomplete` with details.missing, `size-mismatch`,
   * `digest-mismatch` (tree only), `format-unsafe`, `format-mismatch`.
   */
  finishUpload: {
    request: uploadRef.extend({ size: bytes.nullable(), treeDigest: z.string().nullable() }),
    response: uploadReport,
  },
  /** Removes bytes and journal; removing what is not there succeeds. */
  discardUpload: { request: uploadRef, response: z.object({}) },
  /** Control has recorded the seal: the journal may go. */
  forgetUpload: { request: uploadRef, response: z.object({}) },

  /**
   * Has the agent fetch what is missing of an Upload by itself. Idempotent; a new source replaces the
   * old one and goes on with what was received. Does not wait: the reports tell. A paused Upload waits.
   */
  startPull: { request: uploadRef.extend({ source: pullSource }), response: uploadReport },
  stopPull: { request: uploadRef, response: uploadReport },

  /**
   * Opens the upload server of this Upload, which takes it in numbered chunks, or says where it is. Idempotent;
   * it is there again after a restart of the agent, at the same port where that is free. Throws `unavailable`
   * when no port is.
   */
  launchUploadServer: { request: uploadRef, response: z.object({ address: z.string(), port: z.number().int() }) },

  /** Installs or replaces a ticket. The id is its secret: 256 random bits, base64url. */
  installTicket: {
    request: z.object({
      ticketId: z.string().min(16),
      subject: z.discriminatedUnion('kind', [
        z.object({ kind: z.literal('upload'), uploadId: id }),
        z.object({
          kind: z.literal('copy'),
          storeId: id,
          key: z.string(),
          filename: z.string().optional(),
          /** What it had when it was sealed, so that one that was touched since is told apart (ETag). */
          fingerprint: z.string().nullable().optional(),
        }),
      ]),
      ops: z.array(z.enum(['read', 'write'])),
      timeoutSeconds: z.number().int().positive(),
    }),
    response: z.object({ expiresAt: timestamp }),
  },
  revokeTicket: { request: z.object({ ticketId: z.string() }), response: z.object({}) },

  describeCopy: {
    request: copyRef,
    response: z.object({
      state: z.enum(statesOf(copyStates)),
      size: bytes,
      storedSize: bytes,
      fingerprint: z.string(),
    }),
  },
  removeCopy: { request: copyRef, response: z.object({}) },
  /** Many at once, for the re-check of what may have changed behind our back; in the order asked. At most 1000. */
  describeCopies: {
    request: z.object({ copies: z.array(copyRef).max(1000) }),
    response: z.object({ copies: z.array(copyReport) }),
  },

  /** Reads a Copy and compares it with its recorded leaves (`verify`), or computes a flat digest (`digest`). Idempotent by taskId. */
  startWork: {
    request: z.object({
      taskId: id,
      generation: z.number().int(),
      work: z.discriminatedUnion('kind', [
        copyRef.extend({ kind: z.literal('verify') }),
        copyRef.extend({ kind: z.literal('digest'), algorithm: z.enum(['sha256', 'sha512', 'md5']) }),
      ]),
    }),
    response: workReport,
  },
  pauseWork: { request: z.object({ taskId: id }), response: workReport },
  resumeWork: { request: z.object({ taskId: id }), response: workReport },
  cancelWork: { request: z.object({ taskId: id }), response: z.object({}) },
  /** Control has recorded the end. */
  forgetWork: { request: z.object({ taskId: id }), response: z.object({}) },
} as const;

export type AgentCommand = keyof typeof agentCommands;
export type AgentRequest<C extends AgentCommand> = z.input<(typeof agentCommands)[C]['request']>;
export type AgentResponse<C extends AgentCommand> = z.output<(typeof agentCommands)[C]['response']>;

export const linkError = z.object({
  error: z.object({ code: z.string(), message: z.string(), details: z.record(z.string(), z.unknown()) }),
});

/** An agent as control sees it. `links/agent` is one over a socket; every call may throw `unavailable`. */
export interface AgentLink {
  call<C extends AgentCommand>(command: C, request: AgentRequest<C>, signal?: AbortSignal): Promise<AgentResponse<C>>;
  /** Reconnects by itself; ends when the signal fires. The first event of each connection is `full`. */
  events(signal: AbortSignal): AsyncIterable<AgentEvent>;
}
