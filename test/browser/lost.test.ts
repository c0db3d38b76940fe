import { readFile, rm } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { afterAll, expect, vi } from 'vitest';
import type { Page as Listed } from '../../src/contract/api/common.ts';
import type { ImageResource } from '../../src/contract/api/image.ts';
import { testWith } from '../needs.ts';
import { MiB, writeSample } from './sample-file.ts';
import { openStage, type Stage } from './stage.ts';

const test = testWith('chromium');
const waiting = { timeout: 600_000, interval: 100 };
let opened: Promise<Stage> | undefined;
const yaml = 'downloads: {allow: ["127.0.0.1"]}\ncopies: {recheckSeconds: 1}\n';
const stageOf = () => (opened ??= openStage({ yaml }));

afterAll(async () => (await opened)?.[Symbol.asyncDispose]());

test('an upload that was ready and lost all its copies is uploaded again in its place', async () => {
  const stage = await stageOf();
  await using signed = await stage.signedIn();
  const { page } = signed;
  const file = join(stage.folder, 'lost.img');
  await writeSample(file, [
    { kind: 'data', mebibytes: 3 },
    { kind: 'zeros', mebibytes: 4 },
  ]);
  await page.getByRole('button', { name: 'Create image' }).click();
  await page.getByTestId('file-input').setInputFiles(file);
  await page.getByRole('button', { name: 'Upload', exact: true }).click();
  await page.getByText('lost.img has arrived whole.').waitFor();
  const before = await imageNamed(stage, 'lost.img');
  const objects = join(stage.folder, 'data', 'stores', 'default', 'objects');
  for (const { id } of before.copies) await rm(join(objects, id));

  await page.goto(`${stage.url}/#/images/${before.id}`);
  await page.getByText('upload the image again').first().waitFor();
  expect(await page.getByRole('button', { name: 'Download anew' }).count()).toBe(0);
  await page.getByRole('button', { name: 'Retry Upload' }).click();
  await page.getByTestId('file-input').setInputFiles(file);
  await page.getByRole('button', { name: 'Upload', exact: true }).click();
  await page.getByText('Whole, checked').waitFor();
  const after = await stage.api<ImageResource>('GET', `/images/${before.id}`);
  expect(after).toMatchObject({ state: 'ready', digests: before.digests, size: 7 * MiB });
  expect(after.copies.map(({ id }) => id)).not.toEqual(before.copies.map(({ id }) => id));
});

test('a failed download offered to begin a new image only: Download anew fetches it in its place', async () => {
  const stage = await stageOf();
  await using signed = await stage.signedIn();
  const { page } = signed;
  const bytes = await readFile(join(stage.folder, 'lost.img'));
  let there = false;
  const server = createServer((_request, response) => {
    if (there) response.writeHead(200, { 'content-length': bytes.length }).end(bytes);
    else response.writeHead(404).end();
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/afar.img`;
  const origin = { kind: 'download', url };
  const made = await stage.api<ImageResource>('POST', '/images', { name: 'afar.img', origin });
  await page.goto(`${stage.url}/#/images/${made.id}`);
  const again = page.getByRole('button', { name: 'Download anew' });
  await again.waitFor();
  expect(await page.getByRole('button', { name: 'Retry Upload' }).count()).toBe(0);
  there = true;
  await again.click();
  await page.getByText('Whole, checked').waitFor();
  await vi.waitFor(async () => {
    expect(await stage.api<ImageResource>('GET', `/images/${made.id}`)).toMatchObject({ id: made.id, state: 'ready' });
  }, waiting);
  server.close();
});

async function imageNamed(stage: Stage, name: string): Promise<ImageResource> {
  const { items } = await stage.api<Listed<ImageResource>>('GET', `/images?name=${name}`);
  const [image] = items;
  if (image === undefined) throw new Error(`no image ${name}`);
  return image;
}
