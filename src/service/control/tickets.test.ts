import { afterAll, beforeAll, expect, test } from 'vitest';
import { alice, testControl } from '../../../test/control.ts';
import { PlainAgent } from '../../../test/plain-agent.ts';
import { type TestPostgres, testPostgres } from '../../../test/postgres.ts';

let postgres: TestPostgres;
beforeAll(async () => {
  postgres = await testPostgres();
});
afterAll(() => postgres?.[Symbol.asyncDispose]());

class Telling extends PlainAgent {
  readonly #dataUrls: string[];

  constructor(dataUrls: string[]) {
    super([{ name: 'default', free: 2 ** 30 }]);
    this.#dataUrls = dataUrls;
  }

  override full() {
    const full = super.full();
    return { ...full, host: { ...full.host, dataUrls: this.#dataUrls } };
  }
}

async function accessAt(...dataUrls: string[]): Promise<string> {
  await using open = await postgres.open();
  await using ready = await testControl(open, [new Telling(dataUrls)]);
  const upload = await ready.control.uploads.begin(alice, { name: 'x', size: 1, format: 'raw' });
  const { url } = await ready.control.uploads.access(alice, upload.id);
  return url.replace(upload.id, 'ID');
}

test('an agent says where its bytes are, and cannot have anything else asked in our name', async () => {
  const harmful = ['http://inside/admin/remove?all=', 'http://inside/#', 'http://root:pw@inside', 'ftp://x', 'nowhere'];
  for (const url of harmful) await expect(accessAt(url), url).rejects.toMatchObject({ code: 'unavailable' });
  expect(await accessAt(...harmful, 'https://host:7802/base/')).toBe('https://host:7802/base/data/v1/uploads/ID');
});
