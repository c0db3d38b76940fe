import { randomUUID } from 'node:crypto';
import { request as httpsRequest } from 'node:https';
import type { AddressInfo } from 'node:net';
import { json } from 'node:stream/consumers';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { configSchema } from '../../src/config/schema.ts';
import type { HostFacts } from '../../src/contract/join.ts';
import type { OpenDatabase } from '../../src/db/open.ts';
import { createJoinDoor } from '../../src/doors/agent/join-door.ts';
import {
  type Authority,
  certificateRequest,
  issueKeys,
  newPrivateKey,
  openAuthority,
} from '../../src/host/authority.ts';
import { type ControlLink, connectControl, fetchAuthority } from '../../src/links/control-link.ts';
import { type Control, createControl } from '../../src/service/control/control.ts';
import type { Joining } from '../../src/service/control/joining.ts';
import { admin } from '../control.ts';
import { type TestPostgres, testPostgres } from '../postgres.ts';

/** Control's agent listener over real TLS and a real database; the agents are the test. */
let postgres: TestPostgres;
beforeAll(async () => {
  postgres = await testPostgres();
});
afterAll(() => postgres?.[Symbol.asyncDispose]());

interface Stage extends AsyncDisposable {
  readonly open: OpenDatabase & { readonly name: string };
  readonly control: Control;
  readonly authority: Authority;
  /** The same authority at another time. */
  authorityAt(now: Date): Promise<Authority>;
  readonly url: string;
}

let stage: Stage;
beforeEach(async () => {
  const stack = new AsyncDisposableStack();
  const open = stack.use(await postgres.open());
  let kept: string | undefined;
  const ownAuthority = (now: Date) =>
    openAuthority(
      async (make) => {
        kept ??= await make();
        return kept;
      },
      () => now,
    );
  const authority = await ownAuthority(new Date());
  const joining: Joining = {
    issue: (hostId, { csr, names }) => authority.issue({ kind: 'agent', id: hostId }, csr, names),
    keyHash: (csr) => authority.keyHash(csr),
    urls: () => ['https://control:1'],
    secretOf: (token) => token,
  };
  const { db } = open;
  const log = { info: () => {}, warn: () => {}, error: () => {} };
  const waker = { start: async () => {}, soon: async () => {}, stop: async () => {} };
  const now = () => new Date();
  const control = createControl({ db, waker, config: configSchema.parse({}), randomId: randomUUID, now, log, joining });
  stack.defer(() => control.stop());
  const keys = await issueKeys(authority, { kind: 'control', id: randomUUID() }, ['localhost']);
  if (control.agentDoor === undefined) throw new Error('no agent door');
  const door = createJoinDoor(control.agentDoor, { ...keys, ca: authority.certificate });
  await door.app.listen({ host: '127.0.0.1', port: 0 });
  stack.defer(() => door.app.close());
  const url = `https://127.0.0.1:${(door.app.server.address() as AddressInfo).port}`;
  stage = {
    open,
    control,
    authority,
    authorityAt: ownAuthority,
    url,
    [Symbol.asyncDispose]: () => stack.disposeAsync(),
  };
  return () => stage[Symbol.asyncDispose]();
});

function strangeAuthority(now: Date): Promise<Authority> {
  return openAuthority(
    (make) => make(),
    () => now,
  );
}

function facts(hostId: string, more: Partial<HostFacts> = {}): HostFacts {
  const versions = { version: '1.0.0', linkVersion: 1, minLinkVersion: 1 };
  return { hostId, name: 'h', bootId: 'b', ...versions, dataUrls: [], dataCa: null, agentUrl: null, tags: [], ...more };
}

async function token(expiresInSeconds = 60): Promise<string> {
  return (await stage.control.hosts.createJoinToken(admin, { name: 't', expiresInSeconds })).secret;
}

/** An agent of this identity: its key, and what it was given. */
async function newAgent(hostId = randomUUID()) {
  const key = await newPrivateKey();
  let cert: string | undefined;
  const link: ControlLink = connectControl({
    ca: stage.authority.certificate,
    keys: () => (cert === undefined ? undefined : { key, cert }),
  });
  const wish = async () => ({ csr: await certificateRequest(key), names: ['localhost'] });
  return {
    hostId,
    key,
    link,
    setCertificate: (pem: string) => {
      cert = pem;
    },
    join: async (secret: string, more: Partial<HostFacts> = {}) => {
      const answer = await link.join([stage.url], { token: secret, wish: await wish(), host: facts(hostId, more) });
      cert = answer.certificate;
      return answer;
    },
    beat: async (generation: number, more: Partial<HostFacts> & { begins?: boolean } = {}) => {
      const { begins = false, ...host } = more;
      return link.heartbeat([stage.url], {
        generation,
        begins,
        host: facts(hostId, host),
        wish: begins ? await wish() : null,
      });
    },
  };
}

test('a token is good for one agent: the same again after a lost answer, not for another one', async () => {
  const secret = await token();
  const agent = await newAgent();
  expect(await agent.join(secret)).toMatchObject({ generation: 1 });
  expect(await agent.join(secret)).toMatchObject({ generation: 2 });
  const sameHost = await newAgent(agent.hostId);
  await expect(sameHost.join(secret)).rejects.toMatchObject({
    code: 'forbidden',
    message: expect.stringContaining('has been used'),
  });
  await expect((await newAgent()).join(secret)).rejects.toMatchObject({ code: 'forbidden' });
  const [made] = await stage.control.hosts.joinTokens(admin);
  expect(made).toMatchObject({ hostId: agent.hostId, usedAt: expect.any(Date) });
});

test('nobody takes a host over with a token alone: it joins again with its own key, or after it was taken out', async () => {
  const agent = await newAgent();
  await agent.join(await token());
  const thief = await newAgent(agent.hostId);
  const stolen = await token();
  await expect(thief.join(stolen, { name: 'thief', agentUrl: 'https://elsewhere:1' })).rejects.toMatchObject({
    code: 'forbidden',
    message: expect.stringContaining('another key'),
  });
  expect(await stage.control.hosts.get(admin, agent.hostId)).toMatchObject({
    name: 'h',
    agentUrl: null,
    generation: 1,
  });
  expect(await agent.beat(1)).toMatchObject({ verdict: 'accepted' });
  // The refused one has not used it up.
  expect(await agent.join(stolen)).toMatchObject({ generation: 2 });
  await stage.control.hosts.remove(admin, agent.hostId, { force: false });
  expect(await thief.join(await token())).toMatchObject({ generation: 3 });
});

test('a host that was taken out does not come back with the token that it joined with', async () => {
  const agent = await newAgent();
  const first = await token();
  await agent.join(first);
  await stage.control.hosts.remove(admin, agent.hostId, { force: false });
  await expect(agent.join(first)).rejects.toMatchObject({ code: 'forbidden' });
  expect(await stage.control.hosts.list(admin)).toEqual([]);
});

test('a token that has expired, was removed or never was is refused with what to do', async () => {
  const agent = await newAgent();
  const expired = await token();
  await postgres.query(stage.open.name, `update join_tokens set expires_at = now() - interval '1 second'`);
  await expect(agent.join(expired)).rejects.toMatchObject({
    code: 'expired',
    message: expect.stringContaining('Make a new one'),
  });
  const removed = await token();
  const tokens = await stage.control.hosts.joinTokens(admin);
  for (const { id } of tokens) await stage.control.hosts.removeJoinToken(admin, id);
  await expect(agent.join(removed)).rejects.toMatchObject({
    code: 'forbidden',
    message: expect.stringContaining('not known'),
  });
  await expect(
    stage.control.hosts.createJoinToken({ user: 'u', role: 'user' }, { name: 'x', expiresInSeconds: 1 }),
  ).rejects.toMatchObject({ code: 'forbidden' });
  expect(await stage.control.hosts.list(admin)).toEqual([]);
});

test('who has no token learns nothing else: not what is wrong with the request, nor which hosts there are', async () => {
  const agent = await newAgent();
  const host = facts(agent.hostId, { linkVersion: 0 });
  const wish = { csr: 'no request at all', names: ['localhost'] };
  await expect(agent.link.join([stage.url], { token: 'x'.repeat(43), wish, host })).rejects.toMatchObject({
    code: 'forbidden',
    message: expect.stringContaining('not known'),
  });
  const expired = await token();
  await postgres.query(stage.open.name, `update join_tokens set expires_at = now() - interval '1 second'`);
  await expect(agent.link.join([stage.url], { token: expired, wish, host })).rejects.toMatchObject({ code: 'expired' });
  await expect(
    agent.link.join([stage.url], { token: await token(), wish, host: facts(agent.hostId) }),
  ).rejects.toMatchObject({ code: 'bad-request', message: expect.stringContaining('PKCS 10') });
});

test('the old key of a host that was taken out and joined anew is good for nothing', async () => {
  const old = await newAgent();
  await old.join(await token());
  await stage.control.hosts.remove(admin, old.hostId, { force: false });
  const anew = await newAgent(old.hostId);
  expect(await anew.join(await token())).toMatchObject({ generation: 2 });
  const refused = { verdict: 'removed', reason: expect.stringContaining('another key'), certificate: null };
  expect(await old.beat(9)).toMatchObject(refused);
  expect(await old.beat(9, { begins: true, agentUrl: 'https://elsewhere:1' })).toMatchObject(refused);
  expect(await stage.control.hosts.get(admin, old.hostId)).toMatchObject({ generation: 2, agentUrl: null });
  expect(await anew.beat(2)).toMatchObject({ verdict: 'accepted' });
});

test('an agent is told whether the certificate of another one still counts, and who was taken out is told nothing', async () => {
  const [asking, other] = [await newAgent(), await newAgent()];
  for (const agent of [asking, other]) await agent.join(await token());
  const keyHash = await stage.authority.keyHash(await certificateRequest(other.key));
  const about = (id: string, hash: string) => asking.link.knows([stage.url], { id, keyHash: hash });
  expect(await about(other.hostId, keyHash)).toBe(true);
  expect(await about(other.hostId, 'a'.repeat(64))).toBe(false);
  expect(await about(randomUUID(), keyHash)).toBe(false);
  await stage.control.hosts.remove(admin, other.hostId, { force: false });
  expect(await about(other.hostId, keyHash)).toBe(false);
  await expect(other.link.knows([stage.url], { id: asking.hostId, keyHash })).rejects.toMatchObject({
    code: 'forbidden',
    message: expect.stringContaining('no host that is here now'),
  });
});

test('a certificate is renewed for the key of the host only', async () => {
  const agent = await newAgent();
  const { generation } = await agent.join(await token());
  const wish = { csr: await certificateRequest(await newPrivateKey()), names: ['localhost'] };
  await expect(
    agent.link.heartbeat([stage.url], { generation, begins: false, host: facts(agent.hostId), wish }),
  ).rejects.toMatchObject({ code: 'forbidden', message: expect.stringContaining('keys/agent.key') });
});

test('a host that joined before keys were kept has the key with which its agent begins next', async () => {
  const agent = await newAgent();
  await agent.join(await token());
  await postgres.query(stage.open.name, 'update hosts set key_hash = null');
  expect(await agent.beat(1, { begins: true })).toMatchObject({ verdict: 'accepted', generation: 2 });
  const [row] = await postgres.query(stage.open.name, 'select key_hash from hosts');
  expect(row).toEqual({ key_hash: await stage.authority.keyHash(await certificateRequest(agent.key)) });
});

test('a heartbeat wants the certificate of that very host, of our authority, that has not expired', async () => {
  const agent = await newAgent();
  await agent.join(await token());
  expect(await agent.beat(1)).toMatchObject({ verdict: 'accepted', reason: '' });

  const other = await newAgent();
  await other.join(await token());
  const thief = await newAgent(agent.hostId);
  const of = async (authority: Authority, kind: 'agent' | 'control' = 'agent') =>
    authority.issue({ kind, id: agent.hostId }, await certificateRequest(thief.key), ['localhost']);
  await expect(thief.beat(1)).rejects.toMatchObject({ message: expect.stringContaining('none was shown') });
  thief.setCertificate(await of(await strangeAuthority(new Date())));
  await expect(thief.beat(1)).rejects.toMatchObject({
    code: 'forbidden',
    message: expect.stringContaining('not of the authority'),
  });
  thief.setCertificate(await of(stage.authority, 'control'));
  await expect(thief.beat(1)).rejects.toMatchObject({
    code: 'forbidden',
    message: expect.stringContaining('not the one of this host'),
  });
  const before = new Date(Date.now() - 400 * 24 * 3600 * 1000);
  thief.setCertificate(await of(await stage.authorityAt(before)));
  await expect(thief.beat(1)).rejects.toMatchObject({
    code: 'forbidden',
    message: expect.stringMatching(/expired|authority/),
  });
});

test('who answers must be control, and of the authority of the token', async () => {
  expect(await fetchAuthority([stage.url], stage.authority.fingerprint)).toContain('BEGIN CERTIFICATE');
  await expect(fetchAuthority([stage.url], 'a'.repeat(64))).rejects.toMatchObject({
    code: 'forbidden',
    message: expect.stringContaining('another authority'),
  });
  const stranger = connectControl({ ca: (await strangeAuthority(new Date())).certificate, keys: () => undefined });
  await expect(
    stranger.heartbeat([stage.url], { generation: 1, begins: false, host: facts(randomUUID()), wish: null }),
  ).rejects.toMatchObject({ code: 'unavailable', message: expect.stringMatching(/certificate/) });
});

test('the process that begins last has the host; older ones are fenced, a restored database is caught up with', async () => {
  const agent = await newAgent();
  await agent.join(await token());
  expect(await agent.beat(1, { begins: true })).toMatchObject({
    generation: 2,
    certificate: expect.stringContaining('BEGIN'),
  });
  expect(await agent.beat(2, { begins: true })).toMatchObject({ generation: 3 });
  expect(await agent.beat(2)).toMatchObject({ verdict: 'fenced', reason: expect.stringContaining('taken over') });
  expect(await agent.beat(3)).toMatchObject({ verdict: 'accepted' });
  expect(await agent.beat(9)).toMatchObject({ verdict: 'accepted', generation: 9 });
  expect(await agent.beat(8)).toMatchObject({ verdict: 'fenced' });
});

test('an agent that is too old, or for which control is too old, is told what to install', async () => {
  const agent = await newAgent();
  await expect(agent.join(await token(), { linkVersion: 0 })).rejects.toMatchObject({
    code: 'unsupported',
    message: expect.stringContaining('too old'),
  });
  await agent.join(await token());
  const find = () => stage.control.hosts.get(admin, agent.hostId);
  expect(await agent.beat(1, { linkVersion: 0, version: '0.0.1' })).toMatchObject({
    verdict: 'outdated',
    reason: expect.stringContaining('0.0.1'),
  });
  expect(await find()).toMatchObject({
    state: 'outdated',
    status: expect.stringContaining('Install the version of this control'),
  });
  expect(await agent.beat(1, { linkVersion: 3, minLinkVersion: 2, version: '9.0.0' })).toMatchObject({
    verdict: 'outdated',
  });
  expect((await find()).status).toContain('Install Hawser 9.0.0 or later on control');
  expect(await agent.beat(1)).toMatchObject({ verdict: 'accepted' });
  expect(await find()).toMatchObject({ state: 'offline' });
});

test('a host is taken out once it is offline; its agent is told, and joins again with a new token', async () => {
  const agent = await newAgent();
  const first = await token();
  await agent.join(first);
  await stage.control.hosts.change(admin, agent.hostId, { enabled: false, evicting: true, tags: ['a'] });
  expect(await stage.control.hosts.get(admin, agent.hostId)).toMatchObject({
    enabled: false,
    evicting: true,
    drained: true,
    tags: ['a'],
  });
  await stage.control.hosts.remove(admin, agent.hostId, { force: false });
  await expect(stage.control.hosts.get(admin, agent.hostId)).rejects.toMatchObject({ code: 'not-found' });
  expect(await agent.beat(1)).toMatchObject({ verdict: 'removed', reason: expect.stringContaining('new token') });
  expect(await agent.beat(1, { begins: true })).toMatchObject({ verdict: 'removed' });
  await agent.join(await token());
  expect(await stage.control.hosts.list(admin)).toMatchObject([{ enabled: true, evicting: false, tags: ['a'] }]);
});

test('what is no join request is refused in words', async () => {
  const answer = await new Promise((resolve, reject) => {
    const request = httpsRequest(
      `${stage.url}/agent/v1/join`,
      {
        method: 'POST',
        ca: stage.authority.certificate,
        checkServerIdentity: () => undefined,
        headers: { 'content-type': 'application/json' },
      },
      (response) => json(response).then(resolve, reject),
    );
    request.on('error', reject);
    request.end('{}');
  });
  expect(answer).toMatchObject({ error: { code: 'unsupported' } });
});
