import { createReadStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import type { Page } from 'playwright-core';
import { afterAll, expect, vi } from 'vitest';
import type { Page as Listed } from '../../src/contract/api/common.ts';
import type { HostResource } from '../../src/contract/api/host.ts';
import type { ImageResource } from '../../src/contract/api/image.ts';
import type { UploadResource } from '../../src/contract/api/upload.ts';
import { type RealProcess, startProcess } from '../agents/real-process.ts';
import { testWith } from '../needs.ts';
import { focusedName, tabTo } from './in-page.ts';
import { MiB, sha256Of, writeSample } from './sample-file.ts';
import { openStage, type Stage } from './stage.ts';

const test = testWith('chromium');
const waiting = { timeout: 600_000, interval: 100 };
const undo = new AsyncDisposableStack();
let opened: Promise<Stage> | undefined;
const stageOf = () => (opened ??= openStage({ yaml: 'downloads: {allow: ["127.0.0.1"]}\nhost: {name: here}\n' }));

afterAll(async () => {
  await undo.disposeAsync();
  await (await opened)?.[Symbol.asyncDispose]();
});

test('a second host joins with the line that the page shows, and the page hears of it by itself', async () => {
  const stage = await stageOf();
  await using signed = await stage.signedIn();
  const { page } = signed;
  await page.getByRole('link', { name: 'Hosts' }).click();
  await page.getByRole('heading', { name: 'One host so far' }).waitFor();
  await page.getByRole('button', { name: 'Add a host' }).click();
  await page.getByLabel('What it is for').fill('the north one');
  await page.getByRole('button', { name: 'Make a token' }).click();
  const line = (await page.getByText('hawser agent --join').textContent()) ?? '';
  await page.getByText('Waiting for the host to join').waitFor();
  await page.getByText('made by admin').waitFor({ state: 'attached' });

  const [, command, ...args] = line.split(' ');
  const agent = await startProcess({
    dataDir: join(stage.folder, 'north'),
    command: [command ?? '', ...args],
    env: { HAWSER_HOST_NAME: 'north', HAWSER_DOWNLOADS_ALLOW: '["127.0.0.1"]' },
    ports: { agent: 'HAWSER_AGENT_LISTEN', data: 'HAWSER_DATA_LISTEN' },
  });
  undo.use(agent);
  north = agent;
  await page.getByText('north has joined.').waitFor();
  await page.getByRole('button', { name: 'Done' }).click();
  await cardOf(page, 'north').getByText('Online').waitFor();
  expect(await page.getByRole('heading', { name: 'One host so far' }).count()).toBe(0);
  expect(await page.getByRole('heading', { name: 'Open join tokens' }).count()).toBe(0);
});
let north: RealProcess | undefined;

test('a token that is revoked lets nobody in', async () => {
  const stage = await stageOf();
  await using signed = await stage.signedIn();
  const { page } = signed;
  await stage.api('POST', '/join-tokens', { name: 'unwanted' });
  await page.goto(`${stage.url}/#/hosts`);
  await page.getByRole('button', { name: 'Revoke unwanted' }).click();
  await page.getByRole('dialog').getByRole('button', { name: 'Revoke' }).click();
  await page.getByRole('heading', { name: 'Open join tokens' }).waitFor({ state: 'detached' });
  const tokens = await stage.api<{ readonly items: readonly { readonly name: string }[] }>('GET', '/join-tokens');
  expect(tokens.items.filter(({ name }) => name === 'unwanted')).toEqual([]);
});

test('copies: one more by hand, the reason why one stays, placement, and one away', async () => {
  const stage = await stageOf();
  await using signed = await stage.signedIn();
  const { page } = signed;
  const image = await readyImage(stage, 'copied.img');
  await page.goto(`${stage.url}/#/images/${image.id}`);
  const copies = page.getByRole('heading', { name: /^Cop(?:y|ies)$/ }).locator('..');
  await copies
    .getByText('It stays:')
    .getByText('cannot be fetched again')
    .or(copies.getByText(/It stays:/))
    .first()
    .waitFor();
  expect(await copies.getByRole('button', { name: /Remove the copy/ }).count()).toBe(0);

  await copies.getByRole('button', { name: 'Add a copy' }).click();
  const dialog = page.getByRole('dialog', { name: 'Add a copy' });
  const elsewhere = dialog.getByRole('option', { name: /default on/ });
  await dialog.getByLabel('Store').selectOption({ label: (await elsewhere.first().textContent()) ?? '' });
  await dialog.getByRole('button', { name: 'Add the copy' }).click();
  await vi.waitFor(async () => expect(await copies.getByText('Ready', { exact: true }).count()).toBe(2), waiting);

  await copies.getByRole('button', { name: 'How many, and where' }).click();
  await page.getByLabel('Copies at least').fill('2');
  await page.getByRole('button', { name: 'Save' }).click();
  await copies.getByText('At least 2 Copies wanted').waitFor();
  await vi.waitFor(async () => expect(await copies.getByText('It stays:').count()).toBe(2), waiting);

  await copies.getByRole('button', { name: 'How many, and where' }).click();
  await page.getByLabel('Copies at least').fill('1');
  await page.getByRole('button', { name: 'Save' }).click();
  await copies.getByRole('button', { name: 'Remove the copy on default on north' }).click();
  await page.getByRole('dialog').getByRole('button', { name: 'Remove the copy' }).click();
  await vi.waitFor(async () => {
    const now = await stage.api<ImageResource>('GET', `/images/${image.id}`);
    expect(now.copies.filter(({ state }) => state === 'ready').map(({ hostName }) => hostName)).toEqual(['here']);
  }, waiting);
});

test('a host is drained and taken back, disabled and tagged; what happens is said before', async () => {
  const stage = await stageOf();
  await using signed = await stage.signedIn();
  const { page } = signed;
  await readyImage(stage, 'moved.img');
  await page.goto(`${stage.url}/#/hosts`);
  await act(page, 'here', 'Drain');
  await page.getByText('made anew on other hosts first').waitFor();
  await page.getByRole('dialog').getByRole('button', { name: 'Drain' }).click();
  await cardOf(page, 'here').getByText('Drained').waitFor();
  await cardOf(page, 'here').getByText('Nothing is left on it').waitFor();
  await act(page, 'here', 'Take the draining back');
  await cardOf(page, 'here').getByText('Drained').waitFor({ state: 'detached' });

  await act(page, 'here', 'Disable');
  await page.getByRole('dialog').getByRole('button', { name: 'Disable' }).click();
  await cardOf(page, 'here').getByText('Disabled').waitFor();
  await act(page, 'here', 'Enable');
  await cardOf(page, 'here').getByText('Disabled').waitFor({ state: 'detached' });

  await act(page, 'here', 'Edit tags');
  await page.getByRole('combobox', { name: 'Tags' }).fill('row-1');
  await page.keyboard.press('Enter');
  await page.getByRole('button', { name: 'Save' }).click();
  await cardOf(page, 'here').getByText('row-1').waitFor();
  expect((await hostOf(stage, 'here')).tags).toEqual(['row-1']);

  await page.goto(`${stage.url}/#/stores`);
  const store = page.getByRole('region', { name: 'Store default on here' });
  await page.getByRole('button', { name: 'Actions on default on here' }).click();
  await page.getByRole('menuitem', { name: 'Evict' }).click();
  await page.getByRole('dialog').getByRole('button', { name: 'Evict' }).click();
  await store.getByText('Nothing new comes here:').waitFor();
  await page.getByRole('button', { name: 'Actions on default on here' }).click();
  await page.getByRole('menuitem', { name: 'Take the evicting back' }).click();
  await store.getByText('Nothing new comes here:').waitFor({ state: 'detached' });
});

test('an Image from a URL: its name is guessed, it is unpacked and checked, and no password is shown', async () => {
  const stage = await stageOf();
  await using signed = await stage.signedIn();
  const { page } = signed;
  const file = join(stage.folder, 'fetched.img');
  await writeSample(file, [
    { kind: 'data', mebibytes: 3 },
    { kind: 'zeros', mebibytes: 5 },
  ]);
  await using site = await serveFile(file);
  await page.getByRole('button', { name: 'Create image' }).click();
  await page.getByRole('tab', { name: 'From a URL' }).click();
  await page
    .getByRole('textbox', { name: 'URL' })
    .fill(`http://anna:secret@127.0.0.1:${site.port}/some/fetched%20one.img?key=secret`);
  expect(await page.getByRole('textbox', { name: 'Name' }).inputValue()).toBe('fetched one.img');
  await page.getByLabel('Expected digest').fill(await sha256Of(file));
  await page.getByRole('button', { name: 'Download it' }).click();
  await page.getByRole('heading', { name: 'fetched one.img', level: 1 }).waitFor();
  await page.getByText('Whole, checked').waitFor();
  await page.getByText(`Downloaded from http://…@127.0.0.1:${site.port}/some/fetched%20one.img?…`).waitFor();
  expect(await page.getByText('secret').count()).toBe(0);
  await page.goto(`${stage.url}/#/tasks?kind=download`);
  await page.getByText(/fetched%20one\.img\?… → default on (?:here|north)/).waitFor();
});

test('a private address is refused, and the page says which setting allows it', async () => {
  const stage = await stageOf();
  await using signed = await stage.signedIn();
  const { page } = signed;
  await page.getByRole('button', { name: 'Create image' }).click();
  await page.getByRole('tab', { name: 'From a URL' }).click();
  await page.getByRole('textbox', { name: 'URL' }).fill('http://10.1.2.3/private.img');
  await page.getByRole('button', { name: 'Download it' }).click();
  await page.getByText('downloads.allow').first().waitFor();
});

test('by keyboard alone: a clone', async () => {
  const stage = await stageOf();
  await using signed = await stage.signedIn();
  const { page } = signed;
  const image = await readyImage(stage, 'source.img');
  await tabTo(page, 'Create image');
  await page.keyboard.press('Enter');
  await page.getByRole('dialog', { name: 'Create image' }).waitFor();
  await vi.waitFor(async () => expect(await focusedName(page)).toContain('Choose image files'), waiting);
  await tabTo(page, 'From a file');
  await page.keyboard.press('ArrowRight');
  await page.keyboard.press('ArrowRight');
  const select = page
    .getByRole('textbox', { name: 'Image to clone' })
    .or(page.getByRole('combobox', { name: 'Image to clone' }));
  await select.first().waitFor();
  await page.keyboard.press('Tab');
  await page.keyboard.type('source');
  await page.getByRole('option', { name: /source\.img/ }).waitFor();
  await page.keyboard.press('ArrowDown');
  await page.keyboard.press('Enter');
  await vi.waitFor(
    async () => expect(await page.getByLabel('Name of the clone').inputValue()).toBe('source.img (clone)'),
    waiting,
  );
  await tabTo(page, 'Clone it');
  await page.keyboard.press('Enter');
  await page.getByRole('heading', { name: 'source.img (clone)', level: 1 }).waitFor();
  await page.getByText('Whole, checked').waitFor();
  const [clone] = (await stage.api<Listed<ImageResource>>('GET', '/images?search=(clone)')).items;
  const tree = (of: ImageResource | undefined) => of?.digests.find((digest) => digest.startsWith('tree-'));
  expect(tree(clone)).toBe(tree(image));
});

test('a host that is gone is shown so by itself, and is removed with its warning', async () => {
  const stage = await stageOf();
  await using signed = await stage.signedIn();
  const { page } = signed;
  await page.goto(`${stage.url}/#/hosts`);
  await cardOf(page, 'north').getByText('Online').waitFor();
  await north?.stop();
  await cardOf(page, 'north').getByText('Offline').waitFor();
  await act(page, 'north', 'Remove');
  const dialog = page.getByRole('dialog', { name: 'Remove north?' });
  const sure = dialog.getByRole('checkbox', { name: /Remove it all the same/ });
  if ((await sure.count()) > 0) {
    expect(await dialog.getByRole('button', { name: 'Remove the host' }).isDisabled()).toBe(true);
    await sure.check();
  }
  await dialog.getByRole('button', { name: 'Remove the host' }).click();
  await cardOf(page, 'north').waitFor({ state: 'detached' });
});

function cardOf(page: Page, host: string) {
  return page.getByRole('region', { name: `Host ${host}` });
}

async function act(page: Page, host: string, item: string): Promise<void> {
  await page.getByRole('button', { name: `Actions on ${host}` }).click();
  await page.getByRole('menuitem', { name: item, exact: true }).click();
}

async function hostOf(stage: Stage, name: string): Promise<HostResource> {
  const { items } = await stage.api<{ readonly items: readonly HostResource[] }>('GET', '/hosts');
  const host = items.find((each) => each.name === name);
  if (host === undefined) throw new Error(`no host ${name}`);
  return host;
}

/** 2 MiB, on the Store of `here`. */
async function readyImage(stage: Stage, name: string): Promise<ImageResource> {
  const { items } = await stage.api<{ readonly items: readonly { id: string; hostName: string }[] }>('GET', '/stores');
  const storeId = items.find((store) => store.hostName === 'here')?.id;
  const upload = await stage.api<UploadResource>('POST', '/uploads', { name, size: 2 * MiB, storeId });
  await fetch(`${stage.serverUrl}/api/v1/uploads/${upload.id}/data`, {
    method: 'PUT',
    headers: { authorization: `Bearer ${stage.token}`, 'content-range': `bytes 0-${2 * MiB - 1}/${2 * MiB}` },
    body: new Uint8Array(2 * MiB).fill(7),
  });
  await stage.api('POST', `/uploads/${upload.id}/finish`, {});
  return await vi.waitFor(async () => {
    const image = await stage.api<ImageResource>('GET', `/images/${upload.imageId}`);
    expect(image.state).toBe('ready');
    return image;
  }, waiting);
}

/** A site with one file, at every path, for those who have the password. */
async function serveFile(file: string): Promise<AsyncDisposable & { readonly port: number }> {
  const { size } = await stat(file);
  const server = createServer((request, response) => {
    if (request.headers.authorization !== `Basic ${btoa('anna:secret')}`) {
      response.writeHead(401).end();
      return;
    }
    const [, from = 0, to = size - 1] = (/^bytes=(\d+)-(\d+)?$/.exec(request.headers.range ?? '') ?? []).map((text) =>
      text === undefined ? undefined : Number(text),
    );
    const whole = request.headers.range === undefined;
    response.writeHead(whole ? 200 : 206, {
      'content-length': to - from + 1,
      'accept-ranges': 'bytes',
      etag: '"1"',
      ...(whole ? {} : { 'content-range': `bytes ${from}-${to}/${size}` }),
    });
    createReadStream(file, { start: from, end: to }).pipe(response);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    port: (server.address() as AddressInfo).port,
    [Symbol.asyncDispose]: async () => {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
