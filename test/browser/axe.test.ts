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
      await page.goto(`${stage.url}/#/images`);
      await page.getByRole('button', { name: 'Create image' }).click();
      await page.getByRole('dialog', { name: 'Create image' }).waitFor();
      await settled(page);
      found.push(...(await violations(page, 'create image')));
      stage.proxy.release();
      expect(found).toEqual([]);
    });
  }
}

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
    ['stores', '/stores'],
    ['access', '/access'],
  ];
}

async function checkSignIn(stage: Stage, theme: 'light' | 'dark'): Promise<void> {
  const context = await stage.browser.newContext({ colorScheme: theme });
  const page = await context.newPage();
  await page.goto(stage.url);
  await page.getByRole('button', { name: 'Sign in' }).waitFor();
  expect(await violations(page, 'sign in')).toEqual([]);
  await context.close();
}

async function violations(page: Page, where: string): Promise<readonly string[]> {
  const { violations } = await new AxeBuilder({ page })
    .withTags(['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'])
    .analyze();
  return violations.flatMap(({ id, help, nodes }) =>
    nodes.map((node) => `${where}: ${id}: ${help}: ${node.html.slice(0, 200)} ${node.failureSummary?.slice(0, 300)}`),
  );
}
