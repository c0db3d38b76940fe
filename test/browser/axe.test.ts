import { join } from 'node:path';
import { AxeBuilder } from '@axe-core/playwright';
import type { Page } from 'playwright-core';
import { afterAll, expect, vi } from 'vitest';
import type { ImageResource } from '../../src/contract/api/image.ts';
import type { TaskResource } from '../../src/contract/api/task.ts';
import type { UploadResource } from '../../src/contract/api/upload.ts';
import { testWith } from '../needs.ts';
import { settled, sidewaysScroll } from './in-page.ts';
import { MiB, writeSample } from './sample-file.ts';
import { dropFiles, openStage, type Stage } from './stage.ts';

const test = testWith('chromium');
const waiting = { timeout: 600_000, interval: 100 };
let opened: Promise<Stage> | undefined;

afterAll(async () => (await opened)?.[Symbol.asyncDispose]());

for (const theme of ['light', 'dark'] as const) {
  for (const width of [1440, 360]) {
    test(`axe finds nothing on any page: ${theme}, ${width} px`, async () => {
      opened ??= furnished();
      const stage = await opened;
      await checkSignIn(stage, theme);
      await using signed = await stage.signedIn({ theme, width });
      const { page } = signed;
      await runningUpload(stage, page, `${theme}-${width}.img`);
      const found: string[] = [];
      for (const [name, path] of await pagesOf(stage)) {
        await page.goto(`${stage.url}/#${path}`);
        await page.getByRole('heading', { level: 1 }).waitFor();
        await settled(page);
        found.push(...(await violations(page, name)));
        expect(await sidewaysScroll(page), `${name} scrolls sideways`).toBe(0);
      }
      found.push(...(await dialogs(stage, page)));
      found.push(...(await manyPlaces(stage, page)));
      stage.proxy.release();
      expect(found).toEqual([]);
    });
  }
}

/** Each dialog, opened as a person would: a page, then the names of what is pressed. */
async function dialogs(stage: Stage, page: Page): Promise<readonly string[]> {
  const images = await stage.api<{ readonly items: readonly ImageResource[] }>('GET', '/images?limit=100');
  const ready = `/images/${images.items.find((image) => image.state === 'ready')?.id}`;
  const ways: readonly (readonly [path: string, ...presses: (readonly ['button' | 'tab' | 'menuitem', string])[]])[] = [
    ['/images', ['button', 'Create image']],
    ['/images', ['button', 'Create image'], ['tab', 'From a URL'], ['button', 'How many copies, and where']],
    ['/images', ['button', 'Create image'], ['tab', 'Clone']],
    [ready, ['button', 'Add a copy']],
    [ready, ['button', 'How many, and where']],
    ['/hosts', ['button', 'Add a host'], ['button', 'Make a token']],
    ['/hosts', ['button', 'Actions on']],
    ['/hosts', ['button', 'Actions on'], ['menuitem', 'Drain']],
    ['/hosts', ['button', 'Actions on'], ['menuitem', 'Edit tags']],
    ['/hosts', ['button', 'Actions on'], ['menuitem', 'Remove']],
    ['/stores', ['button', 'Actions on'], ['menuitem', 'Evict']],
  ];
  const found: string[] = [];
  for (const [path, ...presses] of ways) {
    await page.goto(`${stage.url}/#/access`);
    await page.getByRole('heading', { name: 'Access', level: 1 }).waitFor();
    await page.goto(`${stage.url}/#${path}`);
    for (const [role, name] of presses) await page.getByRole(role, { name }).first().click();
    if (presses.at(-1)?.[1] === 'Make a token') await page.getByText('hawser agent --join').waitFor();
    const role = presses.at(-1)?.[1] === 'Actions on' ? 'menu' : 'dialog';
    await page.getByRole(role).waitFor();
    await settled(page);
    const where = `${path} ${presses.map(([, name]) => name).join(' > ')}`;
    found.push(...(await violations(page, where, `[role="${role}"]`)));
    expect(await sidewaysScroll(page), `${where} scrolls sideways`).toBe(0);
    await page.keyboard.press('Escape');
  }
  return found;
}

/** 50 Hosts and 50 Stores in every state, made from the real answer: so many agents would not fit this machine. */
async function manyPlaces(stage: Stage, page: Page): Promise<readonly string[]> {
  const found: string[] = [];
  for (const kind of ['hosts', 'stores'] as const) {
    const real = await stage.api<{ readonly items: readonly object[] }>('GET', `/${kind}`);
    const [first] = real.items;
    if (first === undefined) throw new Error(`no ${kind}`);
    const items = Array.from({ length: 50 }, (_, i) => ({ ...first, ...(states[kind][i % 5] ?? {}), ...named(i) }));
    await page.route(`**/api/v1/${kind}`, (route) => route.fulfill({ json: { items } }));
    await page.goto(`${stage.url}/#/access`);
    await page.getByRole('heading', { name: 'Access', level: 1 }).waitFor();
    await page.goto(`${stage.url}/#/${kind}`);
    await page.reload();
    await page.getByText('number 49').first().waitFor();
    await settled(page);
    found.push(...(await violations(page, `50 ${kind}`)));
    expect(await sidewaysScroll(page), `50 ${kind} scroll sideways`).toBe(0);
    await page.unroute(`**/api/v1/${kind}`);
    const refusal = { ...problem, requestId: 'r-1' };
    await page.route(`**/api/v1/${kind}`, (route) => route.fulfill({ status: 403, json: refusal }));
    await page.reload();
    await page.getByRole('alert').first().waitFor();
    await settled(page);
    found.push(...(await violations(page, `${kind} with an error`)));
    await page.unroute(`**/api/v1/${kind}`);
  }
  return found;
}

const problem = {
  type: 'about:blank',
  title: 'Not allowed',
  status: 403,
  detail: 'Only administrators see this.',
  code: 'forbidden',
  next: 'Ask one of them.',
  retryable: false,
};

function named(i: number) {
  const id = `00000000-0000-4000-8000-${String(i).padStart(12, '0')}`;
  return {
    id,
    name: `number ${i} with a name that is rather long and-has-a-part-without-any-gap.example`,
    tags: ['ssd', `row-${i}`],
  };
}

const states = {
  hosts: [
    {},
    { state: 'offline', status: 'Its agent is not heard. Look whether the machine is up.' },
    { evicting: true, copyCount: 12 },
    { evicting: true, drained: true, copyCount: 0 },
    { state: 'outdated', status: 'Its agent is too old.', enabled: false },
  ],
  stores: [
    {},
    { state: 'offline', status: 'The host does not answer.', unschedulable: 'Its host is offline.' },
    { evicting: true, unschedulable: 'It is being evicted.' },
    { state: 'failed', status: 'Input/output error.', unschedulable: 'It has failed.' },
    { enabled: false, unschedulable: 'It is disabled.', reserved: 5 * 2 ** 30 },
  ],
} as const;

/** 50 Images, one of them failed. */
async function furnished(): Promise<Stage> {
  const stage = await openStage();
  for (let i = 0; i < 50; i++) {
    const failing = i === 25;
    const upload = await stage.api<UploadResource>('POST', '/uploads', {
      name: `image number ${i} with a name that is rather long.img`,
      size: MiB,
      ...(failing ? { digest: `sha256:${'0'.repeat(64)}` } : {}),
    });
    await fetch(`${stage.serverUrl}/api/v1/uploads/${upload.id}/data`, {
      method: 'PUT',
      headers: { authorization: `Bearer ${stage.token}`, 'content-range': `bytes 0-${MiB - 1}/${MiB}` },
      body: new Uint8Array(MiB).fill(i + 1),
    });
    // The wrong digest is an answer or the end of a Task, as the server likes.
    await stage.api('POST', `/uploads/${upload.id}/finish`, {}).catch((error: unknown) => {
      if (!failing) throw error;
    });
    if (failing) {
      await vi.waitFor(async () => {
        const image = await stage.api<ImageResource>('GET', `/images/${upload.imageId}`);
        expect(image.state).toBe('failed');
      }, waiting);
    }
  }
  return stage;
}

async function runningUpload(stage: Stage, page: Page, name: string): Promise<void> {
  const file = join(stage.folder, name);
  await writeSample(file, [{ kind: 'data', mebibytes: 24 }]);
  stage.proxy.holdAfter(2);
  await dropFiles(page, [file]);
  await page.getByRole('button', { name: 'Upload', exact: true }).click();
  await vi.waitFor(() => expect(stage.proxy.held).toBeGreaterThan(0), waiting);
}

async function pagesOf(stage: Stage): Promise<readonly (readonly [name: string, path: string])[]> {
  const images = await stage.api<{ readonly items: readonly ImageResource[] }>('GET', '/images?limit=100');
  const tasks = await stage.api<{ readonly items: readonly TaskResource[] }>('GET', '/tasks?limit=100');
  const imageIn = (state: string) => images.items.find((image) => image.state === state)?.id;
  return [
    ['images', '/images'],
    ['an image that is ready', `/images/${imageIn('ready')}`],
    ['an image that failed', `/images/${imageIn('failed')}`],
    ['an image that is being received', `/images/${imageIn('in-progress')}`],
    ['an image that does not exist', '/images/00000000-0000-4000-8000-000000000000'],
    ['tasks', '/tasks'],
    ['a task', `/tasks?task=${tasks.items.find((task) => task.state === 'RUNNING')?.id}`],
    ['hosts', '/hosts'],
    ['stores', '/stores'],
    ['access', '/access'],
  ];
}

async function checkSignIn(stage: Stage, theme: 'light' | 'dark'): Promise<void> {
  const context = await stage.browser.newContext({ colorScheme: theme, reducedMotion: 'reduce' });
  const page = await context.newPage();
  await page.goto(stage.url);
  await page.getByRole('button', { name: 'Sign in' }).waitFor();
  expect(await violations(page, 'sign in')).toEqual([]);
  await context.close();
}

/** Of the whole page, or of what has opened above one that is looked at by itself. */
async function violations(page: Page, where: string, within = ':root'): Promise<readonly string[]> {
  const { violations } = await new AxeBuilder({ page })
    .include(within)
    .withTags(['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'])
    // The other way opens a page of its own for each analysis, for the sake of frames; there are none.
    .setLegacyMode(true)
    .analyze();
  return violations.flatMap(({ id, help, nodes }) =>
    nodes.map((node) => `${where}: ${id}: ${help}: ${node.html.slice(0, 200)} ${node.failureSummary?.slice(0, 300)}`),
  );
}
