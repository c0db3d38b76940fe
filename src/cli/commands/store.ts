import { connected } from '../connect.ts';
import { type GlobalOptions, note, outWidth, print, printJson } from '../terminal.ts';
import { formatBytes, table } from '../text.ts';

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
      store.enabled ? store.state : `${store.state}, disabled`,
      formatBytes(store.free),
      formatBytes(store.reserved),
      formatBytes(store.capacity),
      store.status,
    ]);
    const head = ['ID', 'NAME', 'HOST', 'DRIVER', 'STATE', 'FREE', 'RESERVED', 'CAPACITY', 'STATUS'];
    print(table(head, rows, outWidth()));
  });
}
