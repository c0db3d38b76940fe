import { execFileSync } from 'node:child_process';
import { randomBytes, randomUUID } from 'node:crypto';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, onTestFinished } from 'vitest';
import { QemuNbdSupervisor } from '../../src/host/qemu-nbd.ts';
import { imageTools } from '../../src/roles/image-tools.ts';
import { openFormatted } from '../../src/service/host/formatted-copy.ts';
import { openFileStore } from '../../src/stores/file/store.ts';
import { openMemoryStore } from '../../src/stores/memory/store.ts';
import type { Store } from '../../src/stores/store.ts';
import { testWith } from '../needs.ts';

testWith('qemu-nbd', 'qemu-img')('a sealed qcow2 is read as its guest sees it, with its holes', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'hawser-formatted-'));
  onTestFinished(() => rm(folder, { recursive: true, force: true }));
  const content = Buffer.alloc(64 * 2 ** 20);
  randomBytes(2 ** 20).copy(content, 5 * 2 ** 20);
  await writeFile(join(folder, 'raw'), content);
  execFileSync('qemu-img', ['convert', '-f', 'raw', '-O', 'qcow2', 'raw', 'image'], { cwd: folder });
  const image = await readFile(join(folder, 'image'));
  await using supervisor = await QemuNbdSupervisor.open(join(folder, 'run'), randomUUID);
  const tools = imageTools(supervisor, []);

  const store = await openFileStore({ name: 'here', path: join(folder, 'store') });
  onTestFinished(() => store.close());
  await put(store, image);
  {
    await using device = await openFormatted({ store, name: 'here' }, { key: 'k', format: 'qcow2' }, tools);
    const into = Buffer.alloc(device.size);
    await device.read(into, 0);
    expect(into.equals(content)).toBe(true);
    expect(device.writable).toBe(false);
    const data = [];
    for await (const extent of device.extents({ offset: 0, length: device.size })) if (!extent.zero) data.push(extent);
    expect(data).toEqual([{ offset: 5 * 2 ** 20, length: 2 ** 20, zero: false, hole: false }]);
  }
  const wrong = openFormatted({ store, name: 'here' }, { key: 'k', format: 'raw' }, tools);
  await expect(wrong).rejects.toMatchObject({ code: 'format-mismatch' });
  // Its reader was given back all the same.
  await store.remove('k');

  const memory = openMemoryStore({ name: 'there', capacity: 2 ** 30 });
  await put(memory, image);
  const nowhere = openFormatted({ store: memory, name: 'there' }, { key: 'k', format: 'qcow2' }, tools);
  await expect(nowhere).rejects.toMatchObject({ code: 'unsupported' });
});

async function put(store: Store, image: Uint8Array): Promise<void> {
  await using writer = await store.create({ key: 'k', size: image.length });
  await writer.write(image, 0);
  await writer.seal(image.length);
}
