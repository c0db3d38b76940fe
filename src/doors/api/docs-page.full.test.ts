import { chromium } from 'playwright-core';
import { expect } from 'vitest';
import { testWith } from '../../../test/needs.ts';
import { startApi } from './testing/start-api.ts';

testWith('chromium')('the API page shows every family and asks nobody else for anything', async () => {
  await using api = await startApi();
  const browser = await chromium.launch({
    executablePath: '/usr/bin/chromium',
    args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking'],
  });
  try {
    const page = await browser.newPage();
    const asked: string[] = [];
    const complaints: string[] = [];
    page.on('request', (request) => asked.push(request.url()));
    page.on('console', (message) => {
      if (message.type() === 'error') complaints.push(message.text());
    });
    page.on('pageerror', (error) => complaints.push(error.message));
    await page.goto(`${api.url}/api/docs`);
    await page.getByRole('heading', { name: 'Hawser', exact: true }).first().waitFor();
    for (const family of ['images', 'uploads', 'tasks', 'stores']) {
      await page.getByText(family, { exact: true }).first().click();
    }
    await page.waitForLoadState('networkidle');
    expect(complaints).toEqual([]);
    expect(asked.filter((url) => !url.startsWith(api.url) && !/^(?:data|blob):/.test(url))).toEqual([]);
    expect(asked).toContain(`${api.url}/api/v1/openapi.json`);
  } finally {
    await browser.close();
  }
});
