import type { ApiClient } from '../client/api-client.ts';
import type { HostResource } from '../contract/api/host.ts';
import type { StoreResource } from '../contract/api/store.ts';
import { HawserError } from '../core/errors.ts';
import { printable } from './text.ts';

/** The Host with this id, name, or beginning of an id. Throws `not-found`, and `name-ambiguous` with the list. */
export async function findHost(api: ApiClient, text: string): Promise<HostResource> {
  return pickNamed('host', text, await api.hosts(), ({ name, state }) => `${name}  ${state}`);
}

/** The Store with this id, name, `host/name`, or beginning of an id. Throws as findHost does. */
export async function findStore(api: ApiClient, text: string): Promise<StoreResource> {
  const stores = await api.stores();
  const within = stores.filter(({ hostName, name }) => `${hostName}/${name}` === text);
  const candidates = within.length > 0 ? within.map((store) => ({ ...store, name: text })) : stores;
  const { id } = pickNamed('store', text, candidates, ({ hostName, name }) => `${name} on ${hostName}`);
  return stores.find((store) => store.id === id) ?? missing('store', text, []);
}

interface Named {
  readonly id: string;
  readonly name: string;
}

/**
 * The only one with this id or name, or whose id begins so (4 letters at least). Throws `not-found` with the
 * list of what there is, and `name-ambiguous` with the list of what fits.
 */
export function pickNamed<T extends Named>(
  noun: string,
  text: string,
  all: readonly T[],
  line: (item: T) => string = ({ name }) => name,
): T {
  const exact = all.filter(({ id, name }) => id === text.toLowerCase() || name === text);
  const fitting =
    exact.length > 0 || text.length < 4 ? exact : all.filter(({ id }) => id.startsWith(text.toLowerCase()));
  const [first, ...more] = fitting;
  const lines = (items: readonly T[]) => items.map((item) => `  ${item.id}  ${printable(line(item))}`);
  if (first === undefined) return missing(noun, text, lines(all));
  if (more.length === 0) return first;
  throw new HawserError('name-ambiguous', `Several ${noun}s fit "${text}":\n${lines(fitting).join('\n')}`, {
    details: { next: 'Give the id, or enough of its beginning.' },
  });
}

function missing(noun: string, text: string, lines: readonly string[]): never {
  const list = lines.length === 0 ? ' There are none.' : ` There are:\n${lines.join('\n')}`;
  throw new HawserError('not-found', `There is no ${noun} "${text}".${list}`);
}
