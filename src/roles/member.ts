import { createHash } from 'node:crypto';
import { setTimeout } from 'node:timers/promises';
import { type HeartbeatAnswer, type HostFacts, JOIN_PREFIX, type JoinSecret, joinSecret } from '../contract/join.ts';
import { HawserError, toHawserError } from '../core/errors.ts';
import { certificateRequest } from '../host/authority.ts';
import { agentKey, isDue, type KeptMembership, readMembership, saveMembership } from '../host/membership.ts';
import type { TlsKeys } from '../host/tls.ts';
import { type ControlLink, connectControl, fetchAuthority } from '../links/control-link.ts';
import type { HostLog } from '../service/host/ports.ts';
import type { CertificateHolder } from '../tls/host-check.ts';

export interface MemberParts {
  /** Below the data folder. */
  readonly at: (...parts: readonly string[]) => string;
  /** What the agent was given to join with, if anything. */
  readonly secret: string | undefined;
  /** How we are now; without addresses before we listen. */
  readonly facts: () => HostFacts;
  /** What our certificate shall be good for. */
  readonly names: () => readonly string[];
  readonly log: HostLog;
  readonly signal: AbortSignal;
}

const HEARTBEAT_MS = 3_000;
/** So long a certificate of another host counts after control was asked. */
const PEER_MS = 15_000;
/** How long the first join waits between two tries. */
const RETRY_MS = 2_000;

/** This agent's standing with its control: joined once, then giving signs of life. */
export class Member {
  readonly #parts: MemberParts;
  readonly #key: string;
  readonly #link: ControlLink;
  #kept: KeptMembership;
  readonly #peers = new Map<string, { readonly at: number; readonly known: Promise<boolean> }>();
  #begun = false;
  #unheard = false;

  private constructor(parts: MemberParts, key: string, { kept, link }: { kept: KeptMembership; link: ControlLink }) {
    this.#parts = parts;
    this.#key = key;
    this.#kept = kept;
    this.#link = link;
  }

  /**
   * Joins, unless this data folder has joined already (with this very token, or none is given). Waits for a
   * control that does not answer; throws what control refuses it with.
   */
  static async open(parts: MemberParts): Promise<Member> {
    const key = await agentKey(parts.at);
    const before = await readMembership(parts.at);
    const secret = parts.secret === undefined ? undefined : parseSecret(parts.secret);
    if (before !== undefined && (secret === undefined || before.joinedWith === hashOf(secret.token))) {
      return new Member(parts, key, { kept: before, link: linkOf(before, key, () => before.certificate) });
    }
    if (secret === undefined) {
      throw new HawserError(
        'bad-request',
        'This agent has not joined a control yet. Make a join token there (hawser host token create, or POST /api/v1/join-tokens) and give it with --join or HAWSER_JOIN.',
      );
    }
    return join(parts, key, secret).then((joined) => new Member(parts, key, joined));
  }

  get generation(): number {
    return this.#kept.generation;
  }

  get authority(): string {
    return this.#kept.authority;
  }

  get keys(): TlsKeys {
    return { key: this.#key, cert: this.#kept.certificate };
  }

  /** Our own address on the way to control. */
  get ownAddress(): string | undefined {
    return this.#link.ownAddress;
  }

  /** Whether a certificate of another host still counts; control is asked, at most every 15 s for each. */
  async knows({ name, keyHash }: CertificateHolder): Promise<boolean> {
    const who = `${name} ${keyHash}`;
    const now = performance.now();
    for (const [key, { at }] of this.#peers) if (now - at > PEER_MS) this.#peers.delete(key);
    const asked = this.#peers.get(who);
    if (asked !== undefined) return asked.known;
    const known = this.#link.knows(this.#kept.controls, { id: name, keyHash });
    this.#peers.set(who, { at: now, known });
    known.catch(() => this.#peers.delete(who));
    return known;
  }

  /** Gives signs of life until the signal fires; resolves then. */
  async beat(heard: {
    /** Before each sign: what is told of us is looked at anew. */
    readonly before: () => void;
    readonly renewed: () => void;
    readonly ended: (reason: HawserError) => Promise<void>;
  }): Promise<void> {
    const { signal, log } = this.#parts;
    while (!signal.aborted) {
      try {
        heard.before();
        const answer = await this.#heartbeat();
        if (this.#unheard) log.info({ event: 'control.heard' });
        this.#unheard = false;
        if (await this.#take(answer)) heard.renewed();
        if (answer.verdict === 'outdated') log.warn({ event: 'agent.outdated', reason: answer.reason });
        if (answer.verdict === 'fenced' || answer.verdict === 'removed') {
          log.warn({ event: `agent.${answer.verdict}`, reason: answer.reason });
          await heard.ended(new HawserError('fenced', answer.reason));
          return;
        }
      } catch (error) {
        if (signal.aborted) return;
        if (!this.#unheard) log.warn({ event: 'control.unheard', reason: toHawserError(error).message });
        this.#unheard = true;
      }
      await setTimeout(HEARTBEAT_MS, undefined, { signal }).catch(() => {}); // stopped: looked at above
    }
  }

  async #heartbeat(): Promise<HeartbeatAnswer> {
    const wanted = !this.#begun || isDue(this.#kept.certificate, new Date());
    const answer = await this.#link.heartbeat(this.#kept.controls, {
      generation: this.#kept.generation,
      begins: !this.#begun,
      host: this.#parts.facts(),
      wish: wanted ? { csr: await certificateRequest(this.#key), names: [...this.#parts.names()] } : null,
    });
    if (answer.verdict !== 'fenced' && answer.verdict !== 'removed') this.#begun = true;
    return answer;
  }

  /** Keeps what is new; true when there is a new certificate. */
  async #take({ generation, certificate, controls }: HeartbeatAnswer): Promise<boolean> {
    const known = controls.length === 0 ? this.#kept.controls : [...new Set([...controls, ...this.#kept.controls])];
    const now = {
      ...this.#kept,
      generation,
      certificate: certificate ?? this.#kept.certificate,
      controls: known.slice(0, 16),
    };
    if (JSON.stringify(now) === JSON.stringify(this.#kept)) return false;
    this.#kept = now;
    await saveMembership(this.#parts.at, now);
    return certificate !== null;
  }
}

async function join(parts: MemberParts, key: string, secret: JoinSecret) {
  const authority = await patiently(parts, () => fetchAuthority(secret.urls, secret.authority));
  const request = {
    token: secret.token,
    wish: { csr: await certificateRequest(key), names: [...parts.names()] },
    host: parts.facts(),
  };
  let certificate: string | undefined;
  const link = linkOf({ authority }, key, () => certificate);
  const answer = await patiently(parts, () => link.join(secret.urls, request));
  certificate = answer.certificate;
  const kept: KeptMembership = {
    authority,
    certificate,
    generation: answer.generation,
    controls: [...new Set([...secret.urls, ...answer.controls])],
    joinedWith: hashOf(secret.token),
  };
  await saveMembership(parts.at, kept);
  parts.log.info({ event: 'agent.joined', generation: kept.generation });
  return { kept, link };
}

function linkOf({ authority }: { readonly authority: string }, key: string, certificate: () => string | undefined) {
  return connectControl({
    ca: authority,
    keys: () => {
      const cert = certificate();
      return cert === undefined ? undefined : { key, cert };
    },
  });
}

/** Tries again while control cannot be reached. */
async function patiently<T>({ log, signal }: MemberParts, run: () => Promise<T>): Promise<T> {
  for (let told = false; ; told = true) {
    signal.throwIfAborted();
    try {
      return await run();
    } catch (error) {
      if (!(error instanceof HawserError) || error.code !== 'unavailable') throw error;
      if (!told) log.warn({ event: 'control.unheard', reason: error.message });
      await setTimeout(RETRY_MS, undefined, { signal }).catch(() => {}); // stopped: thrown above
    }
  }
}

function parseSecret(text: string): JoinSecret {
  try {
    if (!text.startsWith(JOIN_PREFIX)) throw new Error('another prefix');
    return joinSecret.parse(JSON.parse(Buffer.from(text.slice(JOIN_PREFIX.length), 'base64url').toString()));
  } catch (cause) {
    throw new HawserError(
      'bad-request',
      `The join token is not whole: it begins with "${JOIN_PREFIX}" and is one word. Copy all of it, or make a new one.`,
      { cause },
    );
  }
}

function hashOf(token: string): string {
  return createHash('sha256').update(token).digest('hex');
}
