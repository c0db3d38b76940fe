import { expect, test } from 'vitest';
import { HawserError } from '../core/errors.ts';
import { errorOfSilence, errorOfWire, isTransferUrl, offerAnswer, parseTransferUrl } from './imageio-words.ts';

test.each([
  ['https://host:54322/images/T', 'https://host:54322/images/T', undefined, 'https://host:54322'],
  ['http://[::1]:54322/images/T?x=1#y', 'http://[::1]:54322/images/T', undefined, 'http://[::1]:54322'],
  ['HTTPS://Host/images/T', 'https://host/images/T', undefined, 'https://host'],
  ['https://proxy/ovirt/images/T', 'https://proxy/ovirt/images/T', undefined, 'https://proxy'],
  ['unix:/run/a b.sock:/images/T', 'http://localhost/images/T', '/run/a b.sock', 'the socket /run/a b.sock'],
])('%s is the URL of a ticket', (text, url, socketPath, shown) => {
  expect(isTransferUrl(text)).toBe(true);
  expect(parseTransferUrl(text)).toEqual({ url, socketPath, shown });
});

test.each([
  'https://host:54322/images/',
  'https://host:54322/',
  'https://host/images/T/extents',
  'http://',
  'unix:/run/x.sock',
  'unix:/run/x.sock:/tickets/T',
  'unix:run/x.sock:/images/T',
])('%s is none, and the message shows how one looks', (text) => {
  expect(() => parseTransferUrl(text)).toThrow(/https:\/\/HOST:54322\/images\/TICKET/);
  expect(() => parseTransferUrl(text)).toThrow(HawserError);
});

test('names of images are no URLs', () => {
  for (const name of ['debian', 'unix', 'http', 'a/b.img', 'images/x', 'nbd:x'])
    expect(isTransferUrl(name)).toBe(false);
});

const where = parseTransferUrl('https://host:54322/images/secret');
const denied = (reason: string) => `You are not allowed to access this resource: ${reason}\n`;

test.each([
  [403, denied('No such ticket secret'), 'not-found'],
  [403, denied('Transfer=abc expired'), 'expired'],
  [403, denied('Transfer=abc was canceled'), 'cancelled'],
  [403, denied('Transfer=abc forbids write'), 'forbidden'],
  [403, '<html>Forbidden</html>', 'forbidden'],
  [404, "No handler for '/images/secret'", 'not-found'],
  [405, "Method 'PATCH' not defined", 'unsupported'],
  [416, 'Requested range out of allowed range', 'out-of-range'],
  [500, 'Server failed to perform the request, check logs', 'store-failed'],
  [503, '', 'unavailable'],
  [400, 'Invalid Content-Length', 'bad-request'],
] as const)('%i %j is %s', (status, body, code) => {
  const error = errorOfWire({ status, body }, where);
  expect(error.code).toBe(code);
  expect(error.details.status).toBe(status);
  expect(error.message).not.toContain('secret');
});

test('nobody answers: with the origin, never with the ticket', () => {
  const gone = Object.assign(new Error('connect ECONNREFUSED'), { code: 'ECONNREFUSED' });
  for (const url of ['https://host:54322/images/secret', 'unix:/run/x.sock:/images/secret']) {
    const error = errorOfSilence(parseTransferUrl(url), gone);
    expect(error).toMatchObject({ code: 'unavailable', message: expect.not.stringContaining('secret') });
    expect(error.retryable).toBe(true);
  }
});

test('a server that says nothing offers one connection and no features', () => {
  const nothing = { features: [], max_readers: 1, max_writers: 1, partial: [] };
  expect(offerAnswer.parse({})).toEqual(nothing);
  expect(offerAnswer.parse({ features: ['extents', 'new'], what: 1 })).toEqual({
    ...nothing,
    features: ['extents', 'new'],
  });
});
