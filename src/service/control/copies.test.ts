import { afterAll, beforeAll, expect, test } from 'vitest';
import { admin, alice, type TestControl, testControl, until } from '../../../test/control.ts';
import { PlainAgent } from '../../../test/plain-agent.ts';
import { type TestPostgres, testPostgres } from '../../../test/postgres.ts';
import type { Image } from '../../core/nouns.ts';

let postgres: TestPostgres;
beforeAll(async () => {
  postgres = await testPostgres();
});
afterAll(async () => {
  await postgres[Symbol.asyncDispose]();
});

const MiB = 1024 * 1024;
const host = (name: string, ...stores: string[]) => {
  const agent = new PlainAgent(
    stores.map((store) => ({ name: store, free: 100 * MiB })),
    name,
  );
  agent.pulls = 'done';
  return agent;
};

/** An Image of 10 bytes that was uploaded to this Store, ready. */
async function uploaded(
  { control }: TestControl,
  agents: readonly PlainAgent[],
  placement: Readonly<Record<string, unknown>> = {},
  storeId?: string,
): Promise<Image> {
  const upload = await control.uploads.begin(alice, { name: 'disk', size: 10, format: 'raw', placement, storeId });
  const agent = agents.find((one) => one.uploads.has(upload.id));
  agent?.receive(upload.id, 10);
  return (await control.uploads.finish(alice, upload.id, {})).image;
}

const statesOf = (image: Image) => image.copies.map((copy) => `${copy.storeName} ${copy.state}`).sort();

/** Lets control look after its copies until it is so. */
async function settled(ready: TestControl, id: string, isSo: (image: Image) => boolean): Promise<Image> {
  let image = await ready.control.images.get(alice, id);
  await until(async () => {
    await ready.control.tick();
    image = await ready.control.images.get(alice, id);
    return isSo(image);
  });
  return image;
}
const ready = (count: number) => (image: Image) =>
  image.copies.filter((copy) => copy.state === 'ready').length === count;

test('an image that wants two copies gets its second one on another store of the same host', async () => {
  await using open = await postgres.open();
  const agent = host('one', 'fast', 'slow');
  await using control = await testControl(open, [agent]);
  const image = await uploaded(control, [agent], { minCopies: 2 });
  const both = await settled(control, image.id, ready(2));
  expect(statesOf(both)).toEqual(['fast ready', 'slow ready']);
  expect(both).toMatchObject({ state: 'ready', status: '', uploadId: image.uploadId });
  const tasks = (await control.control.tasks.list(alice, { limit: 10 })).items;
  expect(tasks.map(({ kind, state, status }) => ({ kind, state, status }))).toEqual([
    { kind: 'replicate', state: 'SUCCESS', status: 'Copied' },
    { kind: 'upload', state: 'SUCCESS', status: 'Uploaded' },
  ]);
  expect(agent.uploads.size).toBe(0);
  expect(agent.copies.size).toBe(2);
  expect((await control.control.stores.list(admin)).map((store) => store.reserved)).toEqual([0, 0]);
});
