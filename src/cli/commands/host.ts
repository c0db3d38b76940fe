import type { ApiClient } from '../../client/api-client.ts';
import { systemClock } from '../../client/system-clock.ts';
import type { HostResource } from '../../contract/api/host.ts';
import { connected } from '../connect.ts';
import { exitCodes } from '../exit-codes.ts';
import { findHost } from '../find-place.ts';
import { type TagChange, tagsAfter } from '../tag-change.ts';
import { type GlobalOptions, note, outWidth, print, printJson, stopSignal } from '../terminal.ts';
import { formatBytes, printable, table } from '../text.ts';

const POLL_MS = 1000;

export async function listHosts(options: GlobalOptions): Promise<void> {
  await connected(options, async ({ api }) => {
    const hosts = await api.hosts();
    if (options.json === true) return printJson({ items: hosts });
    const head = ['ID', 'NAME', 'STATE', 'STORES', 'COPIES', 'FREE', 'CAPACITY', 'TAGS', 'STATUS'];
    print(table(head, hosts.map(hostRow), outWidth()));
    if (hosts.length === 1) note('To add another one: hawser host token create', options);
  });
}

function hostRow(host: HostResource): readonly string[] {
  return [
    host.id.slice(0, 8),
    host.name,
    hostStateText(host),
    String(host.storeCount),
    String(host.copyCount),
    formatBytes(host.free),
    formatBytes(host.capacity),
    host.tags.join(','),
    host.status,
  ];
}

/** `online`, and what keeps new Copies away: `online, draining`. */
function hostStateText({ drained, enabled, evicting, state }: HostResource): string {
  return [state as string, drained ? 'drained' : evicting ? 'draining' : '', enabled ? '' : 'disabled']
    .filter((text) => text !== '')
    .join(', ');
}

export async function showHost(text: string, options: GlobalOptions): Promise<void> {
  await connected(options, async ({ api }) => {
    const host = await findHost(api, text);
    const stores = (await api.stores()).filter(({ hostId }) => hostId === host.id);
    if (options.json === true) return printJson({ ...host, stores });
    const facts: readonly (readonly [string, string])[] = [
      ['id', host.id],
      ['name', host.name],
      ['state', host.status === '' ? hostStateText(host) : `${hostStateText(host)}: ${host.status}`],
      ['version', `${host.version} (link ${host.linkVersion})`],
      ['tags', host.tags.join(', ')],
      ['space', `${formatBytes(host.free)} free of ${formatBytes(host.capacity)}`],
      ['copies', host.evicting ? `${host.copyCount} left to move` : String(host.copyCount)],
      ['agent', host.agentUrl ?? 'in the server itself'],
      ...host.dataUrls.map((url) => ['data', url] as const),
      ['seen', host.seenAt ?? 'never'],
      ['joined', host.createdAt],
      ...stores.map((store) => ['store', `${store.name}  ${store.state}  ${formatBytes(store.free)} free`] as const),
    ];
    for (const [label, value] of facts) if (value !== '') print(`${label.padEnd(9)} ${printable(value)}`);
  });
}

export async function enableHost(text: string, enabled: boolean, options: GlobalOptions): Promise<void> {
  await connected(options, async ({ api }) => {
    const host = await api.changeHost((await findHost(api, text)).id, { enabled });
    if (options.json === true) return printJson(host);
    const says = enabled ? 'may take new copies again' : 'takes no new copies; what it has stays there and can be read';
    note(`${printable(host.name)} ${says}.`, options);
  });
}

/** `hawser host drain`: its Copies are moved to other Hosts. With `wait` it ends when none is left. */
export async function drainHost(text: string, options: GlobalOptions & { readonly wait?: boolean }): Promise<number> {
  return await connected(options, async ({ api }) => {
    const host = await api.changeHost((await findHost(api, text)).id, { evicting: true });
    if (options.wait === true) return await waitDrained(api, host, options);
    if (options.json === true) printJson(host);
    else if (host.drained) note(`${printable(host.name)} is drained: nothing is left on it.`, options);
    else {
      const what = host.copyCount === 1 ? '1 copy is' : `${host.copyCount} copies are`;
      note(
        `${what} moved from ${printable(host.name)} to other hosts, and nothing new comes to it. To see how far it is: hawser host show ${host.id.slice(0, 8)}\nTo take it back: hawser host undrain ${host.id.slice(0, 8)}`,
        options,
      );
    }
    return exitCodes.ok;
  });
}

async function waitDrained(api: ApiClient, begun: HostResource, options: GlobalOptions): Promise<number> {
  const { signal, release } = stopSignal();
  let host = begun;
  let told = '';
  try {
    while (!host.drained && host.evicting) {
      const { copyCount: copiesLeft, status } = host;
      // The status has the number as well, and why the first of them stays.
      const now = status === '' ? `${copiesLeft} ${copiesLeft === 1 ? 'copy is' : 'copies are'} left to move.` : status;
      if (now !== told) {
        told = now;
        if (options.json === true && options.quiet !== true) printJson({ event: 'progress', copiesLeft, status });
        else note(`${printable(host.name)}: ${printable(now)}`, options);
      }
      await systemClock.delay(POLL_MS, signal);
      host = await api.host(host.id, signal);
    }
  } finally {
    release();
  }
  if (options.json === true) printJson({ event: 'done', host });
  else if (host.drained) note(`${printable(host.name)} is drained: nothing is left on it.`, options);
  else note(`Somebody took the draining of ${printable(host.name)} back.`, options);
  return host.drained ? exitCodes.ok : exitCodes.refused;
}

export async function undrainHost(text: string, options: GlobalOptions): Promise<void> {
  await connected(options, async ({ api }) => {
    const host = await api.changeHost((await findHost(api, text)).id, { evicting: false });
    if (options.json === true) printJson(host);
    else note(`${printable(host.name)} is drained no more; what was moved stays where it is now.`, options);
  });
}

export async function tagHost(text: string, change: TagChange, options: GlobalOptions): Promise<void> {
  await connected(options, async ({ api }) => {
    const before = await findHost(api, text);
    const tags = tagsAfter(before.tags, change);
    const host = tags === undefined ? before : await api.changeHost(before.id, { tags: [...tags] });
    if (options.json === true) printJson(host);
    else for (const tag of host.tags) print(tag);
  });
}

export async function removeHost(text: string, options: GlobalOptions & { readonly force?: boolean }): Promise<void> {
  const { force = false } = options;
  await connected(options, async ({ api }) => {
    const host = await findHost(api, text);
    await api.removeHost(host.id, { force });
    if (options.json === true) return printJson({ removed: host.id });
    note(`${printable(host.name)} was removed. What lies on its stores is left there.`, options);
  });
}
