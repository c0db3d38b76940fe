import { join } from 'node:path';
import { afterAll, expect } from 'vitest';
import type { Page as Listed } from '../../src/contract/api/common.ts';
import type { ImageResource } from '../../src/contract/api/image.ts';
import { testWith } from '../needs.ts';
import { MiB, sha256Of, writeSample } from './sample-file.ts';
import { dropFiles, openStage, type Stage } from './stage.ts';

const test = testWith('chromium');
let opened: Promise<Stage> | undefined;
afterAll(async () => (await opened)?.[Symbol.asyncDispose]());

test('over plain HTTP on another name than localhost, without crypto.subtle, an upload arrives whole', async () => {
  opened = openStage({ browserArgs: ['--host-resolver-rules=MAP hawser.example 127.0.0.1'] });
  const stage = await opened;
  const url = stage.url.replace('127.0.0.1', 'hawser.example');
  await using signed = await stage.signedIn({ url });
  const { page } = signed;
  expect(await page.evaluate('[isSecureContext, typeof crypto.subtle, typeof crypto.randomUUID]')).toEqual([
    false,
    'undefined',
    'undefined',
  ]);
  const file = join(stage.folder, 'plain.img');
  await writeSample(file, [
    { kind: 'data', mebibytes: 18 },
    { kind: 'zeros', mebibytes: 20 },
    { kind: 'data', mebibytes: 3 },
  ]);
  await dropFiles(page, [file]);
  await page.getByRole('button', { name: 'Upload', exact: true }).click();
  await page.getByText('plain.img has arrived whole.').waitFor();
  expect(stage.proxy.bytesSent(), 'zeros are found and not sent').toBe(21 * MiB);
  const [image] = (await stage.api<Listed<ImageResource>>('GET', '/images?name=plain.img')).items;
  expect(image?.state).toBe('ready');
  const response = await fetch(`${stage.serverUrl}/api/v1/images/${image?.id}/data`, {
    headers: { authorization: `Bearer ${stage.token}` },
  });
  if (response.body === null) throw new Error(`download: ${response.status}`);
  expect(await sha256Of(response.body)).toBe(await sha256Of(file));
});
