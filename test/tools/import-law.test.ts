import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { findBreaches, lawRules } from '../../tools/import-law.ts';
import { root } from '../../tools/run.ts';

/** For each rule one bad import: the file that has it, and what it imports (made to exist, unless it says so). */
const bad: Readonly<Record<string, readonly [from: string, to: string]>> = {
  'core-imports': ['src/core/a.ts', 'src/engine/b.ts'],
  'contract-imports': ['src/contract/a.ts', 'src/service/control/b.ts'],
  'config-imports': ['src/config/a.ts', 'src/host/b.ts'],
  'client-imports': ['src/client/a.ts', 'src/engine/b.ts'],
  'tls-imports': ['src/tls/a.ts', 'src/host/b.ts'],
  'native-imports': ['src/native/a.ts', 'src/stores/b.ts'],
  'stores-imports': ['src/stores/file/a.ts', 'src/engine/b.ts'],
  'formats-imports': ['src/formats/a.ts', 'src/stores/b.ts'],
  'engine-imports': ['src/engine/a.ts', 'src/stores/file/store.ts'],
  'transfer-imports': ['src/transfer/a.ts', 'src/stores/store.ts'],
  'service-host-imports': ['src/service/host/a.ts', 'src/host/b.ts'],
  'service-control-imports': ['src/service/control/a.ts', 'src/contract/api/b.ts'],
  'db-imports': ['src/db/a.ts', 'src/service/control/use-cases.ts'],
  'host-imports': ['src/host/a.ts', 'src/service/host/uploads.ts'],
  'links-imports': ['src/links/a.ts', 'src/service/control/uploads.ts'],
  'doors-imports': ['src/doors/api/a.ts', 'src/engine/b.ts'],
  'cli-imports': ['src/cli/a.ts', 'src/service/control/b.ts'],
  'files-and-processes-have-their-place': ['src/engine/a.ts', 'node:fs/promises'],
  'sql-only-in-db': ['src/service/control/a.ts', 'kysely'],
  's3-sdk-only-in-stores-s3': ['src/stores/file/a.ts', '@aws-sdk/client-s3'],
  'grpc-only-in-its-doors': ['src/doors/api/a.ts', '@grpc/grpc-js'],
  'koffi-only-in-native': ['src/stores/file/a.ts', 'koffi'],
  'http-server-only-in-doors': ['src/host/a.ts', 'fastify'],
  'core-is-pure': ['src/core/a.ts', 'node:os'],
  'no-driver-imports-another': ['src/stores/file/a.ts', 'src/stores/memory/b.ts'],
  'no-door-imports-another': ['src/doors/api/a.ts', 'src/doors/tus/b.ts'],
  'shared-http-imports-no-door': ['src/doors/_http/a.ts', 'src/doors/api/b.ts'],
  'only-cli-imports-roles': ['src/host/a.ts', 'src/roles/b.ts'],
  'nobody-imports-cli': ['src/roles/a.ts', 'src/cli/b.ts'],
  'web-imports': ['web/src/a.ts', 'src/engine/b.ts'],
  'src-stands-alone': ['src/host/a.ts', 'tools/b.ts'],
  'tests-are-imported-by-tests': ['tools/a.ts', 'test/b.ts'],
  'src-needs-no-dev-package': ['src/host/a.ts', 'vite'],
  'imports-resolve': ['src/host/a.ts', 'src/host/missing.ts'],
  'no-cycles': ['src/host/a.ts', 'src/host/b.ts'],
  'no-orphans': ['src/host/a.ts', ''],
  'nothing-unreachable': ['src/host/a.ts', 'src/host/b.ts'],
};

const packages = ['kysely', '@aws-sdk/client-s3', '@grpc/grpc-js', 'koffi', 'fastify', 'vite'];

let folder = '';
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'hawser-law-'));
  write('src/cli/main.ts', '');
  const dependencies = Object.fromEntries(packages.filter((name) => name !== 'vite').map((name) => [name, '*']));
  write('package.json', JSON.stringify({ name: 'tree', type: 'module', dependencies, devDependencies: { vite: '*' } }));
  for (const name of packages) {
    write(`node_modules/${name}/package.json`, JSON.stringify({ name, version: '1.0.0', exports: './index.js' }));
    write(`node_modules/${name}/index.js`, 'export const it = 1;');
  }
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

function write(path: string, text: string): void {
  mkdirSync(dirname(join(folder, path)), { recursive: true });
  writeFileSync(join(folder, path), text);
}

/** `type`: only for the types, which counts as an import too. */
function writeImport(from: string, to: string, kind: 'value' | 'type' = 'value'): void {
  const inside = /^(src|web|tools|test)\//.test(to);
  const target = inside ? `${'../'.repeat(from.split('/').length - 1)}${to}` : to;
  const word = kind === 'type' ? 'import type' : 'import';
  write(
    from,
    to === '' ? 'export const it = 1;' : `${word} { it } from '${target}';\nexport const that: typeof it = it;\n`,
  );
}

describe('each rule of the import law fires on one bad import', () => {
  test('and has such an import here', async () => {
    expect(Object.keys(bad).sort()).toEqual((await lawRules()).map(({ name }) => name).sort());
  });

  for (const [rule, [from, to]] of Object.entries(bad)) {
    test(rule, async () => {
      const inside = /^(src|web|tools|test)\//.test(to);
      if (inside && !to.endsWith('missing.ts')) write(to, 'export const it = 1;');
      if (rule === 'no-cycles') writeImport(to, from);
      const firesOnLonelyFiles = rule === 'no-orphans' || rule === 'nothing-unreachable';
      if (!firesOnLonelyFiles) expect((await findBreaches(folder)).map((breach) => breach.rule)).not.toContain(rule);

      writeImport(from, to);
      const fired = (await findBreaches(folder)).filter((breach) => breach.rule === rule);
      expect(fired.length).toBeGreaterThan(0);
      expect(fired.some((breach) => breach.from === from || breach.to === from)).toBe(true);
      expect(fired[0]?.comment.length).toBeGreaterThan(30);
    });
  }

  test('also for types only', async () => {
    write('src/engine/b.ts', 'export const it = 1;');
    writeImport('src/stores/file/a.ts', 'src/engine/b.ts', 'type');
    expect((await findBreaches(folder)).map(({ rule }) => rule)).toContain('stores-imports');
  });
});

test('good imports are left alone', async () => {
  const good: readonly [string, string][] = [
    ['src/cli/main.ts', 'src/roles/all.ts'],
    ['src/roles/all.ts', 'src/db/open.ts'],
    ['src/db/open.ts', 'kysely'],
    ['src/db/open.test.ts', 'src/engine/copy.ts'],
    ['src/engine/hash-worker.ts', 'src/engine/copy.ts'],
    ['src/engine/copy.ts', 'src/stores/store.ts'],
    ['src/stores/store.ts', 'src/core/range.ts'],
    ['src/core/range.ts', ''],
  ];
  for (const [from, to] of good) writeImport(from, to);
  expect(await findBreaches(folder)).toEqual([]);
});

test('this tree keeps the law', async () => {
  const breaches = await findBreaches(root);
  expect(breaches.map(({ rule, from, to }) => `${rule}: ${from} → ${to}`)).toEqual([]);
});
