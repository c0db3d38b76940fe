import { afterAll } from 'vitest';
import { type Component, testWith } from '../needs.ts';
import { deviceConformance } from './device-conformance.ts';
import { imagePlace, localPlace, loopPlace, nbdkitPlace } from './device-places.ts';
import { type LoopFilesystem, mountLoop } from './loop-filesystem.ts';
import { MiB } from './store-content.ts';

const combinations = [
  { filesystem: 'ext4', sectorSize: 512 },
  { filesystem: 'ext4', sectorSize: 4096 },
  { filesystem: 'xfs', sectorSize: 4096 },
] as const;
const components = { ext4: 'mke2fs', xfs: 'xfs' } as const satisfies Record<string, Component>;

for (const { filesystem, sectorSize } of combinations) {
  let mounted: Promise<LoopFilesystem> | undefined;
  const mount = () => {
    mounted ??= mountLoop({ filesystem, sectorSize, size: 1024 * MiB });
    return mounted;
  };
  afterAll(async () => (await mounted?.catch(() => undefined))?.[Symbol.asyncDispose]());
  const declare = testWith('loop', components[filesystem]);
  const on = `${filesystem}, ${sectorSize}-byte sectors`;

  deviceConformance(`a file on ${on}`, {
    test: declare,
    make: async (size) => localPlace(size, (await mount()).path),
  });
  deviceConformance(`a file with O_DIRECT on ${on}`, {
    test: declare,
    make: async (size) => localPlace(size, (await mount()).path, { direct: true }),
  });
  deviceConformance(`a file of no whole blocks with O_DIRECT on ${on}`, {
    test: declare,
    size: 5 * MiB + 777,
    make: async (size) => localPlace(size, (await mount()).path, { direct: true }),
    runs: 5,
  });
}

for (const sectorSize of [512, 4096]) {
  deviceConformance(`a block device, ${sectorSize}-byte sectors`, {
    test: testWith('loop'),
    make: (size) => loopPlace(size, sectorSize),
  });
}

for (const [format, ...options] of [
  ['raw'],
  ['qcow2'],
  ['qcow2', '-o', 'cluster_size=4k,extended_l2=off'],
  ['qcow2', '-o', 'extended_l2=on'],
  ['vdi'],
  ['vmdk'],
] as const) {
  deviceConformance(`qemu-nbd over ${format} ${options.join(' ')}`, {
    test: testWith('qemu-nbd'),
    make: (size) => imagePlace(size, format, options),
  });
}

const kits = {
  'as it is': [],
  'without structured replies': ['--no-sr'],
  'without zeroing': ['--filter=nozero'],
  'that refuses to zero': ['--filter=error', 'error-zero=EINVAL', 'error-zero-rate=100%'],
  'in blocks of 512': ['--filter=blocksize-policy', 'blocksize-minimum=512', 'blocksize-error-policy=error'],
  'in blocks of 4096 with 64 KiB at most': [
    '--filter=blocksize-policy',
    'blocksize-minimum=4096',
    'blocksize-maximum=65536',
    'blocksize-error-policy=error',
  ],
  'that answers in any order': ['--filter=delay', 'delay-read=1ms', 'delay-write=1ms'],
} as const;
for (const [name, args] of Object.entries(kits)) {
  deviceConformance(`nbdkit ${name}`, {
    test: testWith('nbdkit'),
    make: (size) => nbdkitPlace(size, ...args),
    runs: 8,
  });
}
