import { expect, test } from 'vitest';
import { addressGuard } from './address-guard.ts';
import { urlRefusal } from './url-refusal.ts';

const guard = addressGuard({ allow: ['10.20.0.0/16'], own: () => [] });

test.each([
  'http://127.0.0.1/x',
  'http://127.1:8080/x',
  'http://2130706433/x',
  'http://0x7f.1/x',
  'https://10.1.2.3/x',
  'http://[::1]/x',
  'http://[::ffff:192.168.0.1]/x',
  'http://169.254.169.254/latest/meta-data',
])('%s names an address inside and is refused without asking anybody', (url) => {
  const refusal = urlRefusal(url, guard);
  expect(refusal?.code).toBe('forbidden');
  expect(refusal?.message).toContain('downloads.allow');
});

test('what is public, allowed or a name is left to who connects', () => {
  for (const url of ['https://1.1.1.1/x', 'http://10.20.3.4/x', 'http://mirror.lab/x', 'http://localhost/x']) {
    expect(urlRefusal(url, guard)).toBeUndefined();
  }
});

test('another scheme is refused', () => {
  expect(urlRefusal('file:///etc/passwd', guard)?.code).toBe('forbidden');
});
