import type { StoreChange } from '../../client/api-client.ts';
import type { StoreResource } from '../../contract/api/store.ts';
import { connected } from '../connect.ts';
import { findStore } from '../find-place.ts';
import { type TagChange, tagsAfter } from '../tag-change.ts';
import { type GlobalOptions, note, outWidth, print, printJson } from '../terminal.ts';
import { formatBytes, printable, table } from '../text.ts';

export async function listStores(options: GlobalOptions): Promise<void> {
  await connected(options, async ({ api }) => {
    const stores = await api.stores();
    if (options.json === true) return printJson({ items: stores });
    if (stores.length === 0) return note('There are no stores.', options);
    const rows = stores.map((store) => [
      store.id.slice(0, 8),
      store.name,
      store.hostName,
      store.driver,
      storeStateText(store),
      String(store.copyCount),
      formatBytes(store.free),
      formatBytes(store.reserved),
      formatBytes(store.capacity),
      store.tags.join(','),
      store.evicting && store.status !== '' ? store.status : (store.unschedulable ?? store.status),
    ]);
    const head = ['ID', 'NAME', 'HOST', 'DRIVER', 'STATE', 'COPIES', 'FREE', 'RESERVED', 'CAPACITY', 'TAGS', 'STATUS'];
    print(table(head, rows, outWidth()));
  });
}

function storeStateText({ enabled, evicting, state }: StoreResource): string {
  return [state as string, evicting ? 'evicting' : '', enabled ? '' : 'disabled']
    .filter((text) => text !== '')
    .join(', ');
}

export async function showStore(text: string, options: GlobalOptions): Promise<void> {
  await connected(options, async ({ api }) => {
    const store = await findStore(api, text);
    if (options.json === true) return printJson(store);
    const facts: readonly (readonly [string, string])[] = [
      ['id', store.id],
      ['name', store.name],
      ['host', store.hostName],
      ['driver', store.driver],
      ['state', store.status === '' ? storeStateText(store) : `${storeStateText(store)}: ${store.status}`],
      ['new copies', store.unschedulable === null ? 'may come here' : `do not come here: ${store.unschedulable}`],
      ['tags', store.tags.join(', ')],
      ['copies', store.evicting ? `${store.copyCount} left to move` : String(store.copyCount)],
      ['capacity', formatBytes(store.capacity)],
      ['free', formatBytes(store.free)],
      ['reserved', formatBytes(store.reserved)],
      ['seen', store.seenAt ?? 'never'],
    ];
    for (const [label, value] of facts) if (value !== '') print(`${label.padEnd(11)} ${printable(value)}`);
  });
}

const said = {
  enable: 'may take new copies again',
  disable: 'takes no new copies; what it has stays there and can be read',
  evict: 'is being evicted: its copies are moved to other stores, and nothing new comes to it',
  unevict: 'is evicted no more; what was moved stays where it is now',
} as const;
const changes = {
  enable: { enabled: true },
  disable: { enabled: false },
  evict: { evicting: true },
  unevict: { evicting: false },
} as const satisfies Record<keyof typeof said, StoreChange>;

export type StoreAct = keyof typeof said;

export async function changeStore(text: string, act: StoreAct, options: GlobalOptions): Promise<void> {
  await connected(options, async ({ api }) => {
    const store = await api.changeStore((await findStore(api, text)).id, changes[act]);
    if (options.json === true) printJson(store);
    else note(`${printable(store.name)} on ${printable(store.hostName)} ${said[act]}.`, options);
  });
}

export async function tagStore(text: string, change: TagChange, options: GlobalOptions): Promise<void> {
  await connected(options, async ({ api }) => {
    const before = await findStore(api, text);
    const tags = tagsAfter(before.tags, change);
    const store = tags === undefined ? before : await api.changeStore(before.id, { tags: [...tags] });
    if (options.json === true) printJson(store);
    else for (const tag of store.tags) print(tag);
  });
}
