import { createHash } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import { isHawserError } from '../../core/errors.ts';
import { contentDisposition, etagOf, matchesNone, rangeAnswer, receiveRequest } from './data-headers.ts';

const badRequest = expect.toSatisfy((error: unknown) => isHawserError(error, 'bad-request'));

describe('where the body of a PUT belongs', () => {
  test('Content-Range says it, Content-Length must agree', () => {
    expect(receiveRequest({ 'content-range': 'bytes 10-19/100', 'content-length': '10' })).toEqual({
      offset: 10,
      length: 10,
      total: 100,
      digest: undefined,
    });
    expect(receiveRequest({ 'content-range': 'bytes 0-0/*' })).toMatchObject({ offset: 0, length: 1, total: null });
    expect(() => receiveRequest({ 'content-range': 'bytes 10-19/100', 'content-length': '9' })).toThrow(badRequest);
  });

  test('without one it starts at 0 and is as long as it is', () => {
    expect(receiveRequest({ 'content-length': '7' })).toMatchObject({ offset: 0, length: 7 });
    expect(receiveRequest({})).toMatchObject({ offset: 0, length: null });
  });

  test.each([
    '',
    'bytes',
    'bytes 5-4/10',
    'bytes -5/10',
    'bytes */10',
    'items 0-1/2',
    'bytes 0-1',
    'bytes 0-99999999999999999999/*',
  ])('a Content-Range "%s" is refused', (range) => {
    expect(() => receiveRequest({ 'content-range': range })).toThrow(badRequest);
  });

  test('Content-Digest is read as RFC 9530 writes it, among others', () => {
    const bytes = createHash('sha256').update('x').digest();
    const header = `unixsum=:AAA=:, sha-256=:${bytes.toString('base64')}:`;
    expect(receiveRequest({ 'content-digest': header }).digest).toEqual({ algorithm: 'sha256', bytes });
    expect(() => receiveRequest({ 'content-digest': 'md5=:AAAA:' })).toThrow(badRequest);
    expect(() => receiveRequest({ 'content-digest': 'sha-256=:AAAA:' })).toThrow(badRequest);
  });
});

describe('what a GET asks for', () => {
  const etag = '"a"';
  test.each([
    ['bytes=0-9', { offset: 0, length: 10 }],
    ['bytes=90-', { offset: 90, length: 10 }],
    ['bytes=-5', { offset: 95, length: 5 }],
    ['bytes=-500', { offset: 0, length: 100 }],
    ['bytes=50-5000', { offset: 50, length: 50 }],
  ])('%s of 100 bytes', (range, wanted) => {
    expect(rangeAnswer({ range }, 100, etag)).toEqual({ kind: 'part', range: wanted });
  });

  test.each(['bytes=100-', 'bytes=200-300', 'bytes=-0'])('%s lies outside 100 bytes', (range) => {
    expect(rangeAnswer({ range }, 100, etag)).toEqual({ kind: 'unsatisfiable' });
  });

  test.each(['bytes=9-0', 'bytes=0-1,3-4', 'bytes=', 'bytes=-', 'lines=1-2'])(
    '%s is answered with all of it',
    (range) => {
      expect(rangeAnswer({ range }, 100, etag)).toEqual({ kind: 'whole' });
    },
  );

  test('If-Range with other bytes in mind gets all of it, never a splice', () => {
    expect(rangeAnswer({ range: 'bytes=0-9', 'if-range': '"b"' }, 100, etag)).toEqual({ kind: 'whole' });
    expect(rangeAnswer({ range: 'bytes=0-9', 'if-range': etag }, 100, etag).kind).toBe('part');
  });
});

test('copies with the same bytes have the same ETag, and one that was touched behind our back another', () => {
  const tree = 'a'.repeat(64);
  expect(etagOf(tree, '1:2:3')).toBe(etagOf(tree, '1:2:4'));
  expect(etagOf(tree, '1:2:3', '1:2:3')).toBe(etagOf(tree, '1:2:4', null));
  expect(etagOf(tree, '1:2:3', '1:2:2')).not.toBe(etagOf(tree, '1:2:4', '1:2:2'));
  expect(etagOf(undefined, '1:2:3')).not.toBe(etagOf(undefined, '1:2:4'));
  expect(matchesNone({ 'if-none-match': `"x", W/${etagOf(tree, '1')}` }, etagOf(tree, '1'))).toBe(true);
  expect(matchesNone({ 'if-none-match': '"x"' }, etagOf(tree, '1'))).toBe(false);
});

test('a file name cannot break out of its header', () => {
  const header = contentDisposition('a"b\r\nSet-Cookie: x=1; ä/../c');
  expect(header).toMatch(/^attachment; filename="[\x20-\x7e]*"; filename\*=UTF-8''[\w%.~-]+$/);
  expect(header).not.toContain('\n');
});
