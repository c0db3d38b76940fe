import { createHash, randomBytes, randomUUID } from 'node:crypto';
import { existsSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { type Browser, type BrowserContext, chromium, type Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect } from 'vitest';
import { testWith } from '../needs.ts';
import { type Stage as ImageioStage, startStage } from '../wire/imageio-stage.ts';
import { chromiumArgs } from './stage.ts';

/**
 * Chromium as oVirt's web page uses the imageio door: a page of another origin, without a login there, with XHR and
 * fetch. https has the certificate of the data folder, which the browser is told to take.
 */
const test = testWith('chromium');
const MiB = 1024 * 1024;
const SIZE = 33 * MiB + 777;

let stage: ImageioStage;
let engine: Server;
let browser: Browser;
let context: BrowserContext;
let page: Page;

beforeAll(async () => {
  if (!existsSync('/usr/bin/chromium')) return;
  stage = await startStage({}, 24);
  engine = createServer((_request, response) => {
    response.writeHead(200, { 'content-type': 'text/html' }).end('<!doctype html><title>engine</title>');
  });
  await new Promise<void>((resolve) => engine.listen(0, '127.0.0.1', resolve));
  browser = await chromium.launch({ executablePath: '/usr/bin/chromium', args: [...chromiumArgs] });
  context = await browser.newContext({ ignoreHTTPSErrors: true });
  page = await context.newPage();
  page.setDefaultTimeout(240_000);
  await page.goto(`http://127.0.0.1:${(engine.address() as AddressInfo).port}/`);
  await page.evaluate(inPage);
});
afterAll(async () => {
  await browser?.close();
  engine?.close();
  await stage?.[Symbol.asyncDispose]();
});

async function image(content: Buffer, values: Readonly<Record<string, unknown>> = {}) {
  const path = join(stage.images, `${randomUUID()}.img`);
  await writeFile(path, content);
  const id = await stage.ticket({ url: `file://${path}`, size: SIZE, sparse: true, ...values });
  return { id, path };
}

/** `hawser.NAME(…)` in the page. */
function ask<T>(name: string, ...args: readonly unknown[]): Promise<T> {
  return page.evaluate<T>(`hawser.${name}(${args.map((arg) => JSON.stringify(arg)).join(', ')})`);
}

interface Answered {
  readonly status: number;
  readonly text: string;
}

describe.each(['https', 'http'] as const)('over %s', (scheme) => {
  const urlOf = (id: string) => `${stage[scheme]}/images/${id}`;

  test('OPTIONS tells the page what it may', async () => {
    const { id } = await image(Buffer.alloc(SIZE));
    const { status, text } = await ask<Answered>('call', urlOf(id), { method: 'OPTIONS' });
    expect(status).toBe(200);
    expect(JSON.parse(text)).toMatchObject({ features: ['checksum', 'extents', 'flush', 'zero'], size: SIZE });
  });

  test('a Blob goes up in pieces as the engine sends them, with progress, and every byte is there', async () => {
    const { id, path } = await image(Buffer.alloc(0), { ops: ['write'] });
    const events = await ask<number>('upload', urlOf(id), SIZE, 8 * MiB);
    expect(events, 'progress of the XHRs, one a piece at least').toBeGreaterThanOrEqual(Math.ceil(SIZE / (8 * MiB)));
    const wanted = Buffer.from(await ask<string>('sampleEnds', SIZE), 'base64');
    const file = await readFile(path);
    expect(file.length).toBe(SIZE);
    expect(Buffer.concat([file.subarray(0, 4096), file.subarray(-4096)]).equals(wanted)).toBe(true);
    expect(sha256Here(file)).toBe(await ask<string>('sampleDigest', SIZE));
    const ticket = await stage.call({ to: stage.control, path: `/tickets/${id}` });
    expect(JSON.parse(ticket.text)).toMatchObject({ transferred: SIZE, active: false });
  });

  test('several pieces go up at once, out of order', async () => {
    const { id, path } = await image(randomBytes(SIZE));
    await ask('uploadAtOnce', urlOf(id), SIZE, 4 * MiB);
    expect(sha256Here(await readFile(path))).toBe(await ask<string>('sampleDigest', SIZE));
  });

  test('PATCH zeroes and flushes; extents and checksum can be asked for', async () => {
    const content = randomBytes(SIZE);
    const { id, path } = await image(content);
    const json = { method: 'PATCH', headers: { 'content-type': 'application/json' } };
    const zero = JSON.stringify({ op: 'zero', offset: 5 * MiB, size: 4 * MiB, flush: false });
    expect((await ask<Answered>('call', urlOf(id), { ...json, body: zero })).status).toBe(200);
    expect((await ask<Answered>('call', urlOf(id), { ...json, body: '{"op": "flush"}' })).status).toBe(200);
    content.fill(0, 5 * MiB, 9 * MiB);
    expect((await readFile(path)).equals(content)).toBe(true);
    const extents = await ask<Answered>('call', `${urlOf(id)}/extents`, {});
    expect(JSON.parse(extents.text)[1]).toMatchObject({ start: 5 * MiB, length: 4 * MiB, zero: true });
    const checksum = await ask<Answered>('call', `${urlOf(id)}/checksum?algorithm=sha256`, {});
    expect(JSON.parse(checksum.text).checksum).toHaveLength(64);
  });

  test('GET gives a range, and the whole', async () => {
    const content = randomBytes(SIZE);
    const { id } = await image(content, { ops: ['read'], filename: 'disk.raw' });
    const part = await ask<{ status: number; length: number; digest: string }>(
      'fetched',
      urlOf(id),
      'bytes=12345-9999999',
    );
    expect(part).toEqual({
      status: 206,
      length: 9_987_655,
      digest: sha256Here(content.subarray(12_345, 10_000_000)),
    });
    const whole = await ask<{ status: number; length: number; digest: string }>('fetched', urlOf(id), null);
    expect(whole).toEqual({ status: 200, length: SIZE, digest: sha256Here(content) });
  });

  test('a link downloads it under the name that the ticket says', async () => {
    const content = randomBytes(SIZE);
    const { id } = await image(content, { ops: ['read'], filename: 'disk one.raw' });
    const download = page.waitForEvent('download');
    // As the engine does it, in a frame.
    await ask('follow', `${urlOf(id)}?close=y`);
    const saved = await download;
    expect(saved.suggestedFilename()).toBe('disk one.raw');
    expect((await readFile(await saved.path())).equals(content)).toBe(true);
  });

  test('what is refused is an error in the page, and a ticket that ends is seen as one', async () => {
    const put = { method: 'PUT', headers: { 'content-range': 'bytes 0-2/*' }, body: 'abc' };
    expect(await ask<string>('failure', urlOf('unknown'), put)).toMatch(/TypeError/);
    const { id, path } = await image(Buffer.alloc(SIZE), { ops: ['read'] });
    expect(await ask<Answered>('call', urlOf(id), put)).toMatchObject({
      status: 403,
      text: expect.stringContaining('forbids write'),
    });
    const beyond = { ...put, headers: { 'content-range': `bytes ${SIZE - 1}-${SIZE + 1}/*` } };
    const other = await image(Buffer.alloc(SIZE));
    expect((await ask<Answered>('call', urlOf(other.id), beyond)).status).toBe(416);
    expect((await readFile(path)).equals(Buffer.alloc(SIZE))).toBe(true);
  });
});

function sha256Here(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}

/** Runs in the page; as text, because this side knows no DOM. */
const inPage = `
  window.hawser = (() => {
    const samples = new Map();
    // The same bytes each time, other ones at each place.
    const sample = (size) => {
      const known = samples.get(size);
      if (known !== undefined) return known;
      const words = new Uint32Array(Math.ceil(size / 4));
      for (let i = 0, x = 2463534242; i < words.length; i++) {
        x ^= x << 13; x ^= x >>> 17; x ^= x << 5;
        words[i] = x;
      }
      const bytes = new Uint8Array(words.buffer, 0, size);
      samples.set(size, bytes);
      return bytes;
    };
    const hex = async (bytes) =>
      [...new Uint8Array(await crypto.subtle.digest('SHA-256', bytes))].map((b) => b.toString(16).padStart(2, '0')).join('');
    const xhr = (url, range, body) => new Promise((resolve, reject) => {
      const request = new XMLHttpRequest();
      let events = 0;
      request.open('PUT', url);
      request.setRequestHeader('Content-Range', range);
      request.setRequestHeader('Cache-Control', 'no-cache');
      request.setRequestHeader('Pragma', 'no-cache');
      request.upload.onprogress = () => events++;
      request.onload = () => [200, 204, 206].includes(request.status) ? resolve(events) : reject(new Error(request.status + ' ' + request.responseText));
      request.onerror = () => reject(new Error('no answer'));
      request.send(body);
    });
    return {
      async call(url, init) {
        const answer = await fetch(url, init);
        return { status: answer.status, text: await answer.text() };
      },
      failure: (url, init) => fetch(url, init).then((answer) => 'answered ' + answer.status, String),
      async upload(url, size, most) {
        const blob = new Blob([sample(size)]);
        let events = 0;
        for (let at = 0; at < size; at += most) {
          const end = Math.min(size, at + most);
          const query = end === size ? '?close=y' : '?flush=n';
          events += await xhr(url + query, 'bytes ' + at + '-' + (end - 1) + '/' + size, blob.slice(at, end));
        }
        return events;
      },
      async uploadAtOnce(url, size, most) {
        const blob = new Blob([sample(size)]);
        const pieces = [];
        for (let at = 0; at < size; at += most) pieces.unshift([at, Math.min(size, at + most)]);
        await Promise.all(pieces.map(async ([at, end]) => {
          const headers = { 'content-range': 'bytes ' + at + '-' + (end - 1) + '/*' };
          const answer = await fetch(url + '?flush=n', { method: 'PUT', headers, body: blob.slice(at, end) });
          if (!answer.ok) throw new Error(answer.status);
        }));
        const flush = await fetch(url, { method: 'PATCH', body: '{"op": "flush"}' });
        if (!flush.ok) throw new Error(flush.status);
      },
      async fetched(url, range) {
        const answer = await fetch(url, range === null ? {} : { headers: { range } });
        const bytes = await answer.arrayBuffer();
        return { status: answer.status, length: bytes.byteLength, digest: await hex(bytes) };
      },
      sampleEnds(size) {
        const bytes = sample(size);
        return btoa(String.fromCharCode(...bytes.subarray(0, 4096), ...bytes.subarray(-4096)));
      },
      sampleDigest: (size) => hex(sample(size)),
      follow(url) {
        const frame = document.createElement('iframe');
        frame.style.display = 'none';
        frame.src = url;
        document.body.append(frame);
      },
    };
  })();
`;
