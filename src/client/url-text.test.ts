import { expect, test } from 'vitest';
import { nameFromUrl, shownUrl } from './url-text.ts';

test('the name of an image is the last part of its URL, without the packing that is taken off', () => {
  const name = (url: string, unpack = false) => nameFromUrl(url, { unpack });
  expect(name('https://cloud.example/images/debian-13.qcow2?token=x#y')).toBe('debian-13.qcow2');
  expect(name('https://cloud.example/a%20b/disk%C3%A9.img.xz')).toBe('diské.img.xz');
  expect(name('https://cloud.example/disk.img.xz', true)).toBe('disk.img');
  expect(name('https://cloud.example/latest/', true)).toBe('latest');
  expect(name('https://cloud.example/.gz', true)).toBe('.gz');
  expect(name('https://cloud.example/%E0%A4%A')).toBe('%E0%A4%A');
  expect([name('https://cloud.example'), name('https://cloud.example/'), name('no url')]).toEqual(['', '', '']);
});

test('a URL is shown without its user, password and query', () => {
  expect(shownUrl('https://anna:secret@cloud.example:8443/a/b.img?signature=secret#secret')).toBe(
    'https://…@cloud.example:8443/a/b.img?…',
  );
  expect(shownUrl('http://cloud.example/b.img')).toBe('http://cloud.example/b.img');
  expect(shownUrl('secret')).not.toContain('secret');
});
