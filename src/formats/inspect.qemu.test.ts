import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect } from 'vitest';
import { testWith } from '../../test/needs.ts';
import type { DeclaredFormat } from '../core/nouns.ts';
import { earlyVerdict, inspect } from './inspect.ts';
import { verdictError } from './verdict.ts';

/** Files as qemu-img makes them; what it says of them is the oracle. */
let folder = '';
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'hawser-formats-'));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function qemuImg(...args: readonly string[]): string {
  return execFileSync('qemu-img', [...args], { cwd: folder, encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
}

function virtualSizeByQemu(file: string, format: string): number {
  const info: unknown = JSON.parse(qemuImg('info', '--output=json', '-f', format, file));
  return (info as { 'virtual-size': number })['virtual-size'];
}

async function look(file: string, declared: DeclaredFormat) {
  await using handle = await open(join(folder, file));
  const { size } = await handle.stat();
  const read = (offset: number, length: number) => readExactly(handle, offset, length);
  const head = await read(0, Math.min(size, 2 ** 20));
  const verdict = await inspect({ size, read }, { declared });
  return {
    verdict,
    error: verdictError(verdict, declared),
    early: verdictError(earlyVerdict(head, declared), declared),
  };
}

async function readExactly(handle: FileHandle, offset: number, length: number): Promise<Uint8Array> {
  const bytes = new Uint8Array(length);
  expect((await handle.read(bytes, 0, length, offset)).bytesRead).toBe(length);
  return bytes;
}

describe('every kind that qemu-img makes in one file is safe and has the virtual size that it says', () => {
  const kinds: readonly [format: DeclaredFormat, qemu: string, options: string, size: string][] = [
    ['qcow2', 'qcow2', 'compat=1.1', '3G'],
    ['qcow2', 'qcow2', 'compat=0.10', '3G'],
    ['qcow2', 'qcow2', 'extended_l2=on', '5G'],
    ['qcow2', 'qcow2', 'extended_l2=on,cluster_size=16k', '1G'],
    ['qcow2', 'qcow2', 'cluster_size=512', '300M'],
    ['qcow2', 'qcow2', 'cluster_size=2M', '64T'],
    ['qcow2', 'qcow2', 'compression_type=zstd', '1G'],
    ['qcow2', 'qcow2', 'lazy_refcounts=on,refcount_bits=1', '1G'],
    ['qcow2', 'qcow2', 'preallocation=metadata', '1G'],
    ['qcow2', 'qcow2', 'compat=1.1', '0'],
    ['qcow2', 'qcow2', 'refcount_bits=64', '512'],
    ['vmdk', 'vmdk', 'subformat=monolithicSparse', '3G'],
    ['vmdk', 'vmdk', 'subformat=streamOptimized', '100M'],
    ['vhd', 'vpc', 'subformat=dynamic', '3G'],
    ['vhd', 'vpc', 'subformat=dynamic,force_size=on', '3G'],
    ['vhd', 'vpc', 'subformat=dynamic', '200G'],
    ['vhd', 'vpc', 'subformat=fixed', '31M'],
    ['vhd', 'vpc', 'subformat=fixed,force_size=on', '31M'],
    ['vhdx', 'vhdx', 'subformat=dynamic', '3G'],
    ['vhdx', 'vhdx', 'subformat=fixed', '16M'],
    ['vhdx', 'vhdx', 'block_size=256M', '64T'],
    ['vdi', 'vdi', 'static=off', '3G'],
    ['vdi', 'vdi', 'static=on', '16M'],
    ['raw', 'raw', 'preallocation=off', '3G'],
  ];
  for (const [index, [format, qemu, options, size]] of kinds.entries()) {
    testWith('qemu-img')(`${format} ${options} ${size}`, async () => {
      const file = `good-${index}`;
      qemuImg('create', '-q', '-f', qemu, '-o', options, file, size);
      for (const declared of [format, 'auto'] as const) {
        const { verdict, early } = await look(file, declared);
        expect(early).toBeUndefined();
        expect(verdict).toEqual({ kind: 'safe', format, virtualSize: virtualSizeByQemu(file, qemu) });
      }
    });
  }

  testWith('qemu-img')('files with data in them', async () => {
    qemuImg('create', '-q', '-f', 'raw', 'data', '40M');
    await using handle = await open(join(folder, 'data'), 'r+');
    for (let offset = 0; offset < 40 * 2 ** 20; offset += 3_000_000)
      await handle.write(Buffer.alloc(100_000, offset % 251), 0, 100_000, offset);
    const ways: readonly [DeclaredFormat, string, readonly string[]][] = [
      ['qcow2', 'qcow2', ['-c']],
      ['vmdk', 'vmdk', ['-o', 'subformat=streamOptimized']],
      ['vmdk', 'vmdk', []],
      ['vhdx', 'vhdx', []],
      ['vdi', 'vdi', []],
      ['vhd', 'vpc', []],
    ];
    for (const [format, qemu, options] of ways) {
      qemuImg('convert', '-f', 'raw', '-O', qemu, ...options, 'data', 'data.out');
      const { verdict } = await look('data.out', format);
      expect(verdict).toEqual({ kind: 'safe', format, virtualSize: virtualSizeByQemu('data.out', qemu) });
    }
  });

  testWith('qemu-img')('a qcow2 with snapshots inside', async () => {
    qemuImg('create', '-q', '-f', 'qcow2', 'snapshots', '20M');
    qemuImg('snapshot', '-c', 'one', 'snapshots');
    expect((await look('snapshots', 'auto')).error).toBeUndefined();
  });
});

describe('every kind that qemu-img makes in several files is refused', () => {
  const kinds: readonly [name: string, args: readonly string[], file: string][] = [
    ['qcow2 on a backing file', ['-f', 'qcow2', '-b', '/etc/hostname', '-F', 'raw', '-u', 'x', '1G'], 'x'],
    ['qcow2 v2 on a backing file', ['-f', 'qcow2', '-o', 'compat=0.10', '-b', 'y', '-F', 'raw', '-u', 'x', '1G'], 'x'],
    ['qcow2 with an external data file', ['-f', 'qcow2', '-o', 'data_file=d,data_file_raw=on', 'x', '1G'], 'x'],
    ['vmdk monolithicFlat', ['-f', 'vmdk', '-o', 'subformat=monolithicFlat', 'x.vmdk', '1M'], 'x.vmdk'],
    ['vmdk twoGbMaxExtentSparse', ['-f', 'vmdk', '-o', 'subformat=twoGbMaxExtentSparse', 'x.vmdk', '1M'], 'x.vmdk'],
    ['one piece of it', ['-f', 'vmdk', '-o', 'subformat=twoGbMaxExtentSparse', 'y.vmdk', '1M'], 'y-s001.vmdk'],
    ['qed', ['-f', 'qed', 'x', '1G'], 'x'],
    ['parallels', ['-f', 'parallels', 'x', '1G'], 'x'],
    ['qcow', ['-f', 'qcow', 'x', '1G'], 'x'],
  ];
  for (const [name, args, file] of kinds) {
    testWith('qemu-img')(name, async () => {
      qemuImg('create', '-q', ...args);
      for (const declared of ['auto', 'raw', 'qcow2', 'vmdk'] as const) {
        const { error, early } = await look(file, declared);
        expect(error?.code).toBe('format-unsafe');
        if (early !== undefined) expect(early.code).toMatch(/^format-/);
      }
    });
  }

  testWith('qemu-img')('a vmdk on a parent', async () => {
    qemuImg('create', '-q', '-f', 'vmdk', 'parent.vmdk', '1M');
    qemuImg('create', '-q', '-f', 'vmdk', '-b', 'parent.vmdk', '-F', 'vmdk', 'child.vmdk');
    expect((await look('child.vmdk', 'vmdk')).early?.code).toBe('format-unsafe');
    expect((await look('child.vmdk', 'vmdk')).error?.code).toBe('format-unsafe');
  });
});
