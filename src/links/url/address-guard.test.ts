import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { addressGuard } from './address-guard.ts';

const guard = addressGuard({ allow: [], own: () => ['198.105.7.9', '2a01:4f8::7'] });
const refused = (address: string) => guard.refusal('host.example', address) !== undefined;

/** By the text of the RFCs, not by the library: prefix and bits of what must never be reached. */
const closed: readonly (readonly [number, number])[] = [
  [0x00000000, 8],
  [0x0a000000, 8],
  [0x64400000, 10],
  [0x7f000000, 8],
  [0xa9fe0000, 16],
  [0xac100000, 12],
  [0xc0000000, 24],
  [0xc0000200, 24],
  [0xc0a80000, 16],
  [0xc6120000, 15],
  [0xc6336400, 24],
  [0xcb007100, 24],
  [0xe0000000, 4],
  [0xf0000000, 4],
];
const isClosed = (ip: number) => closed.some(([base, bits]) => ip >>> (32 - bits) === base >>> (32 - bits));
const dotted = (ip: number) => [24, 16, 8, 0].map((shift) => (ip >>> shift) & 255).join('.');
const hex = (ip: number) => `${(ip >>> 16).toString(16)}:${(ip & 0xffff).toString(16)}`;

const anyAddress = fc.integer({ min: 0, max: 0xffffffff });
const closedAddress = fc
  .constantFrom(...closed)
  .chain(([base, bits]) => fc.integer({ min: 0, max: 2 ** (32 - bits) - 1 }).map((low) => (base | low) >>> 0));

describe('the address guard', () => {
  test('refuses every address of every closed network', () => {
    fc.assert(
      fc.property(closedAddress, (ip) => refused(dotted(ip))),
      { numRuns: 2000 },
    );
  });

  test('refuses what carries such an address in any form of IPv6', () => {
    const forms: readonly ((ip: number) => string)[] = [
      (ip) => `::ffff:${dotted(ip)}`,
      (ip) => `::ffff:${hex(ip)}`,
      (ip) => `0:0:0:0:0:ffff:${hex(ip)}`,
      (ip) => `::ffff:0:${hex(ip)}`,
      (ip) => `::${hex(ip)}`,
      (ip) => `64:ff9b::${hex(ip)}`,
      (ip) => `64:ff9b:1::${hex(ip)}`,
      (ip) => `64:ff9b:1:${hex(ip)}::`,
      (ip) => `2002:${hex(ip)}::1`,
      (ip) => `2002:${hex(ip)}:abcd:0:1:2:3`,
      (ip) => `2a01:4f8:0:1:0:5efe:${hex(ip)}`,
      (ip) => `2a01:4f8:0:1:200:5efe:${hex(ip)}`,
    ];
    fc.assert(
      fc.property(closedAddress, fc.constantFrom(...forms), (ip, form) => refused(form(ip))),
      { numRuns: 3000 },
    );
  });

  test('lets through only what lies in no closed network', () => {
    fc.assert(
      fc.property(anyAddress, (ip) => refused(dotted(ip)) || !isClosed(ip)),
      { numRuns: 3000 },
    );
  });

  test('refuses IPv6 that leads inside, each with any rest', () => {
    const rest = fc.array(fc.integer({ min: 0, max: 0xffff }), { minLength: 7, maxLength: 7 });
    const heads = ['fc00', 'fd12', 'fe80', 'febf', 'fec0', 'ff02', 'ff0e', '100', '0'];
    fc.assert(
      fc.property(fc.constantFrom(...heads), rest, (head, parts) => {
        const zeros = head === '100' ? 3 : head === '0' ? 5 : 0;
        const tail = [...Array.from({ length: zeros }, () => 0), ...parts.slice(zeros)];
        return refused([head, ...tail.map((part) => part.toString(16))].join(':'));
      }),
      { numRuns: 2000 },
    );
    for (const address of ['::', '::1', '2001:0:1:2::3', '2001:db8::1', 'fe80::1%eth0'])
      expect(refused(address)).toBe(true);
  });

  test('lets the public internet through, also by 6to4 and NAT64', () => {
    const v4 = ['93.184.216.34', '8.8.8.8', '::ffff:8.8.8.8'];
    const v6 = ['2606:4700::1111', '64:ff9b::808:808', '2002:808:808::1'];
    for (const address of [...v4, ...v6]) expect(guard.refusal('host.example', address)).toBeUndefined();
  });

  test('refuses the addresses of this host, public or not, and what is no address', () => {
    for (const address of ['198.105.7.9', '::ffff:198.105.7.9', '2a01:4f8::7', '2a01:4f8:0:0::7', 'localhost', ''])
      expect(refused(address)).toBe(true);
  });

  test('let through an address of this host that NAT64 or 6to4 leads to', () => {
    for (const address of ['64:ff9b::198.105.7.9', '2002:c669:709::1']) expect(refused(address)).toBe(true);
  });

  test('let through IPv6 that was never given out, which only inner networks use', () => {
    for (const address of ['4000::1', '8000:1::2', '1fff::1', '5f00::1', '3fff::1'])
      expect(refused(address)).toBe(true);
  });

  test('allows what the list says and nothing beside it', () => {
    const allow = ['10.20.0.0/16', 'fd00:1::/32', '192.168.7.7', 'mirror.lab', '*.pool.lab'];
    const lab = addressGuard({ allow, own: () => [] });
    const open = (host: string, address: string) => lab.refusal(host, address) === undefined;
    expect(open('x', '10.20.3.4')).toBe(true);
    expect(open('x', '::ffff:10.20.3.4')).toBe(true);
    expect(open('x', '10.21.3.4')).toBe(false);
    expect(open('x', 'fd00:1::5')).toBe(true);
    expect(open('x', 'fd00:2::5')).toBe(false);
    expect(open('x', '192.168.7.7')).toBe(true);
    expect(open('x', '192.168.7.8')).toBe(false);
    expect(open('Mirror.lab', '127.0.0.1')).toBe(true);
    expect(open('a.pool.lab', '10.0.0.1')).toBe(true);
    expect(open('pool.lab', '10.0.0.1')).toBe(false);
    expect(open('evilpool.lab', '10.0.0.1')).toBe(false);
    expect(open('mirror.lab.evil.example', '10.0.0.1')).toBe(false);
    expect(open('x', '2002:a14:304::1')).toBe(false);
  });
});
