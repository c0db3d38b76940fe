import { expect, test } from 'vitest';
import { isHawserError } from '../../core/errors.ts';
import { LoginLimit } from './login-limit.ts';

const limit = () => new LoginLimit({ failures: 3, windowSeconds: 60, now: () => 0 });

function refused(limit: LoginLimit, address: string): boolean {
  try {
    limit.begin(address);
    return false;
  } catch (error) {
    if (isHawserError(error, 'too-many')) return true;
    throw error;
  }
}

test.each([
  [
    'one address of a /64 after the other',
    ['2001:db8:1:2::1', '2001:db8:1:2::2', '2001:db8:1:2:3:4:5:6'],
    '2001:db8:1:2::9',
  ],
  ['IPv4, also when it is written as IPv6', ['192.0.2.1', '::ffff:192.0.2.1', '192.0.2.1'], '::ffff:192.0.2.1'],
])('%s: the limit holds', (_what, tried, next) => {
  const counts = limit();
  for (const address of tried) expect(refused(counts, address)).toBe(false);
  expect(refused(counts, next)).toBe(true);
});

test('other networks are not held up by it', () => {
  const counts = limit();
  for (const last of [1, 2, 3, 4]) refused(counts, `2001:db8:1:2::${last}`);
  for (const address of ['2001:db8:1:3::1', '2001:db8::1', '::1', '192.0.2.1'])
    expect(refused(counts, address)).toBe(false);
});
