import { copyFile, mkdir, stat, utimes } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, afterEach, expect, vi } from 'vitest';
import type { Page as Listed } from '../../src/contract/api/common.ts';
import type { ImageResource } from '../../src/contract/api/image.ts';
import type { TaskResource } from '../../src/contract/api/task.ts';
import type { ReceivedRanges, UploadResource } from '../../src/contract/api/upload.ts';
import { testWith } from '../needs.ts';
import { focusedName, tabTo } from './in-page.ts';
import { changeByte, MiB, sha256Of, writeSample } from './sample-file.ts';
import { dropFiles, openStage, type Stage } from './stage.ts';

const test = testWith('chromium');
const waiting = { timeout: 600_000, interval: 100 };
let opened: Promise<Stage> | undefined;
const stageOf = () => (opened ??= openStage());

afterEach(async () => (await opened)?.proxy.release());
afterAll(async () => (await opened)?.[Symbol.asyncDispose]());

test('signs in with the token, refuses a wrong one, offers a password that can be skipped', async () => {
  const stage = await stageOf();
  const page = await stage.browser.newPage();
  await page.goto(stage.url);
  await page.getByText('run/admin-token').first().waitFor();
  await page.getByLabel('Admin token').fill('not the token');
  await page.getByRole('button', { name: 'Sign in' }).click();
  await page.getByText('That did not match').waitFor();
  await page.getByLabel('Admin token').fill(stage.token);
  await page.keyboard.press('Enter');
  await page.getByText('Set a password?').waitFor();
  await page.getByRole('button', { name: 'Not now' }).click();
  await page.getByRole('heading', { name: 'Images', level: 1 }).waitFor();
  await page.reload();
  await page.getByRole('heading', { name: 'Images', level: 1 }).waitFor();
  expect(await page.getByText('Set a password?').count()).toBe(0);
  await page.close();
});

test('uploads a picked file with progress; zeros are not sent; the bytes are the same', async () => {
  const stage = await stageOf();
  await using signed = await stage.signedIn();
  const { page } = signed;
  const file = join(stage.folder, 'picked.img');
  await writeSample(file, [
    { kind: 'data', mebibytes: 24 },
    { kind: 'zeros', mebibytes: 40 },
    { kind: 'data', mebibytes: 8 },
  ]);
  stage.proxy.holdAfter(4);
  await page.getByRole('button', { name: 'Create image' }).click();
  await page.getByTestId('file-input').setInputFiles(file);
  await page.getByRole('button', { name: 'Upload', exact: true }).click();
  const bar = page.getByRole('progressbar', { name: 'Upload of picked.img' });
  await vi.waitFor(async () => expect(Number(await bar.getAttribute('aria-valuenow'))).toBeGreaterThan(0), waiting);
  await vi.waitFor(() => expect(stage.proxy.held).toBeGreaterThan(0), waiting);
  expect(Number(await bar.getAttribute('aria-valuenow'))).toBeLessThan(100);
  stage.proxy.release();
  await page.getByText('picked.img has arrived whole.').waitFor();
  const image = await imageNamed(stage, 'picked.img');
  expect(image).toMatchObject({ state: 'ready', size: 72 * MiB });
  expect(stage.proxy.bytesSent(image.uploadId ?? '')).toBe(32 * MiB);
  expect(await digestOf(stage, image)).toBe(await sha256Of(file));
});

test('pauses and resumes a dropped file', async () => {
  const stage = await stageOf();
  await using signed = await stage.signedIn();
  const { page } = signed;
  const file = join(stage.folder, 'paused.img');
  await writeSample(file, [{ kind: 'data', mebibytes: 48 }]);
  stage.proxy.holdAfter(3);
  await dropFiles(page, [file]);
  await page.getByRole('dialog', { name: 'Create image' }).waitFor();
  await page.getByRole('button', { name: 'Upload', exact: true }).click();
  await vi.waitFor(() => expect(stage.proxy.held).toBeGreaterThan(0), waiting);
  await page.getByRole('button', { name: 'Pause paused.img', exact: true }).click();
  const image = await imageNamed(stage, 'paused.img');
  await vi.waitFor(async () => expect((await taskOf(stage, image)).state).toBe('PAUSED'), waiting);
  stage.proxy.release();
  await page.getByRole('button', { name: 'Resume paused.img', exact: true }).click();
  await page.getByText('paused.img has arrived whole.').waitFor();
  expect(await digestOf(stage, await imageNamed(stage, 'paused.img'))).toBe(await sha256Of(file));
});

test('survives a reload: a changed file is refused, the same one goes on with what is missing', async () => {
  const stage = await stageOf();
  await using signed = await stage.signedIn();
  const { page } = signed;
  const file = join(stage.folder, 'reloaded.img');
  await writeSample(file, [{ kind: 'data', mebibytes: 64 }]);
  stage.proxy.holdAfter(6);
  await dropFiles(page, [file]);
  await page.getByRole('button', { name: 'Upload', exact: true }).click();
  await vi.waitFor(() => expect(stage.proxy.held).toBeGreaterThan(0), waiting);
  page.on('dialog', (dialog) => void dialog.accept());
  await page.reload();
  await page.getByText('Waiting for the file: drop').waitFor();
  stage.proxy.release();

  const [upload] = (await stage.api<Listed<UploadResource>>('GET', '/uploads?state=open')).items;
  if (upload === undefined) throw new Error('no open upload');
  const before = await stage.api<ReceivedRanges>('GET', `/uploads/${upload.id}/ranges`);
  expect(before.receivedBytes).toBeGreaterThan(0);
  const sentBefore = stage.proxy.sent.length;

  await dropFiles(page, [await changedTwin(stage, file, before.ranges[0]?.offset ?? 0)]);
  await page.getByText('This file is not the one that was begun').waitFor();
  await page.getByRole('button', { name: 'Start over' }).waitFor();
  expect(stage.proxy.sent.length).toBe(sentBefore);
  await page.getByRole('button', { name: 'Upload as a new image' }).click();
  await page.getByText('reloaded.img has arrived whole.').waitFor();
  await page.getByRole('button', { name: 'Clear what is done' }).click();

  await page.getByText('Waiting for the file: drop').waitFor();
  // Asked again: what the reload cut off may have been landing when the first answer was given.
  const known = await stage.api<ReceivedRanges>('GET', `/uploads/${upload.id}/ranges`);
  await dropFiles(page, [file]);
  await page.getByText('reloaded.img has arrived whole.').last().waitFor();
  await vi.waitFor(async () => {
    const sealed = await stage.api<UploadResource>('GET', `/uploads/${upload.id}`);
    expect(sealed.state).toBe('sealed');
  }, waiting);
  const again = stage.proxy.sent.slice(sentBefore).filter((range) => range.uploadId === upload.id);
  for (const range of again) for (const had of known.ranges) expect(overlap(range, had)).toBe(0);
  expect(again.reduce((sum, range) => sum + range.length, 0)).toBe(64 * MiB - known.receivedBytes);
  const image = await stage.api<ImageResource>('GET', `/images/${upload.imageId}`);
  expect(await digestOf(stage, image)).toBe(await sha256Of(file));
});

test('says what to change when a proxy refuses every size, and retries when asked', async () => {
  const stage = await stageOf();
  await using signed = await stage.signedIn();
  const { page } = signed;
  const file = join(stage.folder, 'refused.img');
  await writeSample(file, [{ kind: 'data', mebibytes: 4 }]);
  stage.proxy.answerPuts(413);
  await dropFiles(page, [file]);
  await page.getByRole('button', { name: 'Upload', exact: true }).click();
  await page.getByText('client_max_body_size').first().waitFor();
  stage.proxy.answerPuts(undefined);
  await page.getByRole('button', { name: 'Retry upload of refused.img' }).click();
  await page.getByText('refused.img has arrived whole.').waitFor();
});

test('a lost login is asked for again and the upload goes on', async () => {
  const stage = await stageOf();
  await using signed = await stage.signedIn();
  const { page, context } = signed;
  const file = join(stage.folder, 'login.img');
  await writeSample(file, [{ kind: 'data', mebibytes: 24 }]);
  stage.proxy.holdAfter(2);
  await dropFiles(page, [file]);
  await page.getByRole('button', { name: 'Upload', exact: true }).click();
  await vi.waitFor(() => expect(stage.proxy.held).toBeGreaterThan(0), waiting);
  await context.clearCookies();
  stage.proxy.release();
  await page.getByRole('dialog', { name: 'Please sign in again' }).waitFor();
  await page.getByLabel('Admin token').fill(stage.token);
  await page.getByRole('button', { name: 'Sign in' }).click();
  await page.getByText('login.img has arrived whole.').waitFor();
  expect(await digestOf(stage, await imageNamed(stage, 'login.img'))).toBe(await sha256Of(file));
});

test('the whole way by keyboard', async () => {
  const stage = await stageOf();
  await using signed = await stage.signedIn();
  const { page } = signed;
  const file = join(stage.folder, 'keys.img');
  await writeSample(file, [{ kind: 'data', mebibytes: 2 }]);
  // Asked for ahead: Chromium is told of it only some time after.
  const chosen = page.waitForEvent('filechooser');
  await page.keyboard.press('Tab');
  expect(await focusedName(page)).toBe('Skip to the content');
  await page.keyboard.press('Enter');
  await tabTo(page, 'Create image');
  await page.keyboard.press('Enter');
  await page.getByRole('dialog', { name: 'Create image' }).waitFor();
  await vi.waitFor(async () => expect(await focusedName(page)).toContain('Choose image files'), waiting);
  await page.keyboard.press('Enter');
  await (await chosen).setFiles(file);
  await page.getByLabel('Name', { exact: true }).waitFor();
  await tabTo(page, 'Upload');
  await page.keyboard.press('Enter');
  await page.getByText('keys.img has arrived whole.').waitFor();
  await tabTo(page, 'Dismiss keys.img');
  await page.keyboard.press('Enter');
  await vi.waitFor(async () => expect(await page.getByText('1 done').count()).toBe(0), waiting);
});

async function imageNamed(stage: Stage, name: string): Promise<ImageResource> {
  const { items } = await stage.api<Listed<ImageResource>>('GET', `/images?name=${name}`);
  const [image] = items;
  if (image === undefined) throw new Error(`no image ${name}`);
  return image;
}

function taskOf(stage: Stage, image: ImageResource): Promise<TaskResource> {
  return stage.api<TaskResource>('GET', `/tasks/${image.taskId}`);
}

async function digestOf(stage: Stage, image: ImageResource): Promise<string> {
  const response = await fetch(`${stage.serverUrl}/api/v1/images/${image.id}/data`, {
    headers: { authorization: `Bearer ${stage.token}` },
  });
  if (!response.ok || response.body === null) throw new Error(`download: ${response.status}`);
  return await sha256Of(response.body);
}

/** The same name, size and time in another folder, with one byte changed. */
async function changedTwin(stage: Stage, file: string, offset: number): Promise<string> {
  const folder = join(stage.folder, 'twin');
  await mkdir(folder, { recursive: true });
  const twin = join(folder, file.slice(file.lastIndexOf('/') + 1));
  await copyFile(file, twin);
  await changeByte(twin, offset + 12_345);
  const { mtime } = await stat(file);
  await utimes(twin, mtime, mtime);
  return twin;
}

function overlap(
  a: { readonly offset: number; readonly length: number },
  b: { readonly offset: number; readonly length: number },
): number {
  return Math.max(0, Math.min(a.offset + a.length, b.offset + b.length) - Math.max(a.offset, b.offset));
}
