import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { test } from 'vitest';

/** Where Debian puts QEMU's driver for http and https. */
const curlDriver = ['x86_64', 'aarch64'].map((machine) => `/usr/lib/${machine}-linux-gnu/qemu/block-curl.so`);

/**
 * Components that a test may need beyond npm. With CI=true all must be there and a missing one fails;
 * otherwise the test is skipped by a name that says what to type.
 */
const components = {
  root: { there: () => process.getuid?.() === 0, type: 'run as root' },
  loop: {
    there: () => process.getuid?.() === 0 && existsSync('/dev/loop-control'),
    type: 'run as root with loop devices',
  },
  namespaces: { there: () => process.getuid?.() === 0 && has('ip'), type: 'run as root; apt-get install iproute2' },
  'qemu-img': { there: () => has('qemu-img'), type: 'apt-get install qemu-utils' },
  'qemu-nbd': { there: () => has('qemu-nbd') && has('setpriv'), type: 'apt-get install qemu-utils util-linux' },
  'qemu-curl': {
    there: () => has('qemu-img') && curlDriver.some((path) => existsSync(path)),
    type: 'apt-get install qemu-utils qemu-block-extra',
  },
  nbdkit: { there: () => has('nbdkit') && has('openssl'), type: 'apt-get install nbdkit openssl' },
  nbdcopy: { there: () => has('nbdcopy') && has('nbdinfo'), type: 'apt-get install libnbd-bin' },
  mke2fs: { there: () => has('mke2fs'), type: 'apt-get install e2fsprogs' },
  xfs: { there: () => has('mkfs.xfs'), type: 'apt-get install xfsprogs' },
  btrfs: { there: () => has('mkfs.btrfs'), type: 'apt-get install btrfs-progs' },
  chromium: { there: () => existsSync('/usr/bin/chromium'), type: 'apt-get install chromium' },
  nginx: { there: () => existsSync('/usr/sbin/nginx'), type: 'apt-get install nginx-light' },
  strace: { there: () => has('strace'), type: 'apt-get install strace' },
  zsh: { there: () => has('zsh'), type: 'apt-get install zsh' },
  fish: { there: () => has('fish'), type: 'apt-get install fish' },
  xz: { there: () => has('xz'), type: 'apt-get install xz-utils' },
  curl: { there: () => has('curl'), type: 'apt-get install curl' },
} as const satisfies Record<string, { there: () => boolean; type: string }>;

export type Component = keyof typeof components;

/** `testWith('nginx', 'chromium')('name', fn)`: a vitest test that needs these. */
export function testWith(...needed: readonly Component[]) {
  const missing = needed.filter((name) => !components[name].there());
  if (missing.length === 0 || process.env.CI === 'true') return test;
  const hint = missing.map((name) => components[name].type).join('; ');
  return (name: string, ..._rest: readonly unknown[]) => test.skip(`${name} [needs: ${hint}]`, () => {});
}

function has(command: string): boolean {
  try {
    execFileSync('sh', ['-c', `command -v ${command}`], {
      stdio: 'ignore',
      env: { ...process.env, PATH: `${process.env.PATH}:/usr/sbin:/sbin` },
    });
    return true;
  } catch {
    return false;
  }
}
