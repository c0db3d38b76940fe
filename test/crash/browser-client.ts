import { link, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { chromium, type Page } from 'playwright-core';
import { dropFiles } from '../browser/stage.ts';
import type { ClientEnd, ClientJob, CrashClient } from './harness.ts';
import { killGroup } from './server-group.ts';

const args = [
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
];

/**
 * The page in Chromium. Each life is a new browser that signs in and drops the same file: the first
 * one is asked to create an image, later ones go on with what is there.
 */
export const browserClient: CrashClient = {
  start: async (job) => {
    const server = await chromium.launchServer({ executablePath: '/usr/bin/chromium', args, headless: true });
    const pid = server.process().pid ?? 0;
    const gone = new Promise<void>((resolve) => server.process().once('exit', () => resolve()));
    try {
      const browser = await chromium.connect(server.wsEndpoint());
      const page = await browser.newPage();
      page.setDefaultTimeout(0);
      page.setDefaultNavigationTimeout(0);
      await signIn(page, job);
      await drop(page, job);
      return {
        ended: endOf(page),
        kill: () => killGroup(pid),
        close: async () => {
          killGroup(pid);
          await gone;
          await server.close();
        },
      };
    } catch (error) {
      killGroup(pid);
      await gone;
      throw error;
    }
  },
};

async function signIn(page: Page, { url, token }: ClientJob): Promise<void> {
  await page.addInitScript(() => localStorage.setItem('hawser-password-later', 'admin'));
  await page.goto(url);
  await page.getByLabel('Admin token').fill(token);
  await page.getByRole('button', { name: 'Sign in' }).click();
  await page.getByRole('heading', { name: 'Images', level: 1 }).waitFor();
}

/** An upload that has been quiet for long goes on at once; else the dialog comes, and finds it by the file. */
async function drop(page: Page, { file, folder, name }: ClientJob): Promise<void> {
  const named = join(folder, name);
  await rm(named, { force: true });
  await link(file, named);
  await dropFiles(page, [named]);
  const dialog = page.getByRole('button', { name: 'Upload', exact: true });
  await dialog.or(page.locator('li[data-phase]:not([data-phase="waiting-for-file"])')).first().waitFor();
  if (await dialog.isVisible()) await dialog.click();
}

async function endOf(page: Page): Promise<ClientEnd> {
  try {
    const item = page.locator('li[data-phase="done"], li[data-phase="failed"]').first();
    await item.waitFor();
    const said = await item.innerText();
    return (await item.getAttribute('data-phase')) === 'done' ? { kind: 'done' } : { kind: 'failed', said };
  } catch (error) {
    return page.isClosed() || !page.context().browser()?.isConnected()
      ? { kind: 'killed' }
      : { kind: 'failed', said: String(error) };
  }
}
