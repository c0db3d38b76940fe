import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { brotliCompress, constants, gzip } from 'node:zlib';

/**
 * Builds the web page into dist/web and prints one line. With `--if-stale` it builds only when the
 * sources' hash differs from that of the last build.
 */
const root = fileURLToPath(new URL('..', import.meta.url));
const stamp = join(root, 'dist', 'web.sha256');
const sources = ['web', 'src/contract', 'src/client', 'src/core', 'package-lock.json'];

const hash = await hashOf(sources);
const fresh = existsSync(join(root, 'dist', 'web', 'index.html')) && (await readOr(stamp, '')) === hash;
if (process.argv.includes('--if-stale') && fresh) {
  console.log('web: dist/web is up to date');
} else {
  const started = performance.now();
  // A test runner's own NODE_ENV would make it React's slow development build.
  process.env.NODE_ENV = 'production';
  const { build } = await import('vite');
  await build({ configFile: join(root, 'web', 'vite.config.ts'), logLevel: 'warn' });
  await compressBelow(join(root, 'dist', 'web'));
  await writeFile(stamp, hash);
  console.log(`web: built dist/web in ${((performance.now() - started) / 1000).toFixed(1)} s`);
}

async function hashOf(paths: readonly string[]): Promise<string> {
  const sum = createHash('sha256');
  for (const path of paths) {
    for (const file of await filesBelow(join(root, path))) {
      if (file.endsWith('.test.ts')) continue;
      const content = await readFile(file);
      sum.update(`${relative(root, file)}\0${content.byteLength}\0`).update(content);
    }
  }
  return sum.digest('hex');
}

async function filesBelow(path: string): Promise<readonly string[]> {
  if (!existsSync(path)) return [];
  if (path.endsWith('.json')) return [path];
  const entries = await readdir(path, { recursive: true, withFileTypes: true });
  return entries
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))
    .sort();
}

/** Beside each file its `.br` and `.gz`, which the server sends to whoever takes them. */
async function compressBelow(path: string): Promise<void> {
  const texts = (await filesBelow(path)).filter((file) => /\.(?:js|css|html|svg)$/.test(file));
  await Promise.all(
    texts.map(async (file) => {
      const content = await readFile(file);
      const params = { [constants.BROTLI_PARAM_QUALITY]: 9 };
      await writeFile(`${file}.br`, await promisify(brotliCompress)(content, { params }));
      await writeFile(`${file}.gz`, await promisify(gzip)(content));
    }),
  );
}

async function readOr(path: string, otherwise: string): Promise<string> {
  return existsSync(path) ? await readFile(path, 'utf8') : otherwise;
}
