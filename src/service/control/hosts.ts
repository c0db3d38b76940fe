import { HawserError } from '../../core/errors.ts';
import type { Actor, Host } from '../../core/nouns.ts';
import type { Context } from './context.ts';
import { hashToken, type Joining } from './joining.ts';
import { hostView } from './leaving.ts';
import { removeHost } from './remove-host.ts';
import type { HostUseCases } from './use-cases.ts';

export function createHosts(context: Context, joining: Joining | undefined): HostUseCases {
  const { db } = context;
  const find = async (id: string): Promise<Host> => {
    const host = await db.hosts.find(id);
    if (host === undefined || host.state === 'removed') {
      throw new HawserError('not-found', 'There is no such host; see the list of hosts.');
    }
    return host;
  };
  return {
    list: async () => Promise.all((await db.hosts.list()).map((host) => hostView(context, host))),
    get: async (_actor, id) => hostView(context, await find(id)),
    change: async (actor, id, change) => {
      mustBeAdmin(actor, 'changes a host');
      await find(id);
      await db.hosts.change(id, change);
      await db.audit.append({ actor: actor.user, action: 'host.change', subject: id, detail: { ...change } });
      context.changes.touch('host', id);
      context.tend();
      for (const store of await db.stores.list()) if (store.hostId === id) context.changes.touch('store', store.id);
      return hostView(context, await find(id));
    },
    remove: async (actor, id, { force }) => {
      mustBeAdmin(actor, 'takes a host out');
      await removeHost(context, actor, { host: await find(id), force });
    },
    joinTokens: async (actor) => {
      mustBeAdmin(actor, 'sees join tokens');
      return db.hosts.joinTokens();
    },
    createJoinToken: async (actor, { name, expiresInSeconds }) => {
      mustBeAdmin(actor, 'makes a join token');
      const urls = [...new Set([...(joining?.urls() ?? []), ...(await db.hosts.controlUrls())])];
      if (joining === undefined || urls.length === 0) {
        throw new HawserError(
          'conflict',
          'No host can join here: this control has no agent listener. Set agentListen (HAWSER_AGENT_LISTEN) and start it again.',
        );
      }
      const secret = context.randomSecret();
      const token = await db.hosts.insertJoinToken({
        id: context.randomId(),
        name,
        hash: hashToken(secret),
        createdBy: actor.user,
        expiresInSeconds,
      });
      await db.audit.append({ actor: actor.user, action: 'join-token.create', subject: token.id, detail: { name } });
      return { ...token, secret: joining.secretOf(secret, urls), warning: reachWarning(urls) };
    },
    removeJoinToken: async (actor, id) => {
      mustBeAdmin(actor, 'removes a join token');
      if (!(await db.hosts.removeJoinToken(id))) throw new HawserError('not-found', 'There is no such join token.');
      await db.audit.append({ actor: actor.user, action: 'join-token.remove', subject: id });
    },
  };
}

/** What is known at once: who listens on loopback only is reached from this machine only. */
function reachWarning(urls: readonly string[]): string | null {
  if (!urls.every((url) => /^(localhost|127\..*|\[::1\])$/.test(new URL(url).hostname))) return null;
  return `Only a host on this same machine can join with it: it leads to ${urls.join(' and ')}. For a host on another machine set agentListen here (HAWSER_AGENT_LISTEN=0.0.0.0:7801), or agentUrl to where others reach it, start Hawser again and make a new token.`;
}

function mustBeAdmin(actor: Actor, what: string): void {
  if (actor.role !== 'admin') throw new HawserError('forbidden', `Only an administrator ${what}.`);
}
