import ipaddr from 'ipaddr.js';

type Address = ipaddr.IPv4 | ipaddr.IPv6;

export interface AddressGuardSettings {
  /** What is allowed although it lies inside: CIDRs, addresses, host names, `*.domain`. */
  readonly allow: readonly string[];
  /** The addresses of this host as they are now; a public one leads inside as well. */
  readonly own: () => readonly string[];
}

/** Says which addresses a download may connect to. */
export interface AddressGuard {
  /** Why not, for people; undefined: it may. `host` is the name as the URL has it. */
  refusal(host: string, address: string): string | undefined;
}

/**
 * Guards against server-side request forgery: only addresses of the public internet are let through, so whatever
 * is not plainly one (private, loopback, link-local, shared, multicast, reserved, and IPv6 that carries such an
 * IPv4 address inside) is refused. The registries: RFC 6890, IANA's special-purpose address registries.
 */
export function addressGuard({ allow, own }: AddressGuardSettings): AddressGuard {
  const networks = allow.flatMap((entry) => {
    const network = networkOf(entry);
    return network === undefined ? [] : [network];
  });
  const names = allow.filter((entry) => networkOf(entry) === undefined).map((name) => name.toLowerCase());
  return {
    refusal(host, text) {
      if (!ipaddr.isValid(text)) return 'it is no address';
      if (names.some((name) => nameMatches(name, host.toLowerCase().replace(/\.$/, '')))) return undefined;
      const address = ipaddr.process(text); // IPv4 that is mapped into IPv6 becomes IPv4
      if (networks.some((network) => isWithin(address, network))) return undefined;
      const inside = insideOf(address);
      if (inside !== undefined) return inside;
      const carried = address instanceof ipaddr.IPv6 ? carriedBy(address) : undefined;
      const led = carried === undefined || carried === 'unknown' ? [address] : [address, carried];
      const leadsHere = own().some((mine) => led.some((each) => isSame(each, mine)));
      return leadsHere ? 'it is an address of this host' : undefined;
    },
  };
}

/** The one range of ordinary addresses in ipaddr.js; everything else has a name of its own. */
const ORDINARY = 'unicast';

function insideOf(address: Address): string | undefined {
  const range = address.range();
  const special = range === ORDINARY ? undefined : `it is a ${spoken(range)} address`;
  if (address instanceof ipaddr.IPv4) return special;
  const carried = carriedBy(address);
  if (carried === 'unknown') return special ?? 'it is a reserved address';
  if (carried === undefined) return special ?? (isGlobal(address) ? undefined : 'it is an unassigned address');
  const inner = insideOf(carried);
  return inner && `it carries ${carried.toString()}: ${inner}`;
}

/**
 * The IPv4 address inside an IPv6 one that routers and hosts may unwrap: 6to4 (RFC 3056), NAT64 (RFC 6052), SIIT
 * (RFC 2765), ISATAP (RFC 5214). Undefined: none; unknown: there is one in a form that is not to be used.
 */
function carriedBy(address: ipaddr.IPv6): ipaddr.IPv4 | 'unknown' | undefined {
  const { parts } = address;
  const at = (index: number) => ipv4Of(parts[index] ?? 0, parts[index + 1] ?? 0);
  const zeros = (from: number, to: number) => parts.slice(from, to).every((part) => part === 0);
  if (parts[0] === 0x2002) return at(1);
  if (parts[0] === 0x64 && parts[1] === 0xff9b) return zeros(2, 6) ? at(6) : 'unknown';
  if (zeros(0, 4) && parts[4] === 0xffff && parts[5] === 0) return at(6);
  if (zeros(0, 6)) return 'unknown'; // IPv4-compatible (RFC 4291 2.5.5.1), loopback and unspecified
  if (((parts[4] ?? 0) & 0xfdff) === 0 && parts[5] === 0x5efe) return at(6);
  return undefined;
}

/** 2000::/3: the only unicast addresses that are given out (RFC 4291 2.5.4). */
function isGlobal({ parts }: ipaddr.IPv6): boolean {
  return ((parts[0] ?? 0) & 0xe000) === 0x2000;
}

function ipv4Of(high: number, low: number): ipaddr.IPv4 {
  return new ipaddr.IPv4([high >> 8, high & 255, low >> 8, low & 255]);
}

function spoken(range: string): string {
  return range.replace(/([A-Z])/g, (letter) => ` ${letter.toLowerCase()}`);
}

function networkOf(entry: string): readonly [Address, number] | undefined {
  if (ipaddr.isValidCIDR(entry)) return ipaddr.parseCIDR(entry);
  // Not "127.1" and other short forms: those look like host names of digits.
  if (!ipaddr.IPv4.isValidFourPartDecimal(entry) && !ipaddr.IPv6.isValid(entry)) return undefined;
  const address = ipaddr.parse(entry);
  return [address, address.kind() === 'ipv4' ? 32 : 128];
}

function isWithin(address: Address, [base, bits]: readonly [Address, number]): boolean {
  if (address instanceof ipaddr.IPv4) return base instanceof ipaddr.IPv4 && address.match(base, bits);
  return base instanceof ipaddr.IPv6 && address.match(base, bits);
}

function isSame(address: Address, text: string): boolean {
  const plain = text.replace(/%.*$/, '');
  return ipaddr.isValid(plain) && ipaddr.process(plain).toNormalizedString() === address.toNormalizedString();
}

function nameMatches(name: string, host: string): boolean {
  return name.startsWith('*.') ? host.endsWith(name.slice(1)) : host === name;
}
