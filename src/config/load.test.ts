import { expect, test } from 'vitest';
import { HawserError } from '../core/errors.ts';
import { describeConfig } from './describe.ts';
import { type ConfigInputs, loadConfig, usualDataDir } from './load.ts';
import { parseNumber } from './number.ts';
import { allSettings } from './settings.ts';

function inputs(
  given: Partial<ConfigInputs> & { readonly files?: Readonly<Record<string, string>> } = {},
): ConfigInputs {
  const { files = {}, ...rest } = given;
  return { flags: {}, env: {}, uid: 1000, home: '/srv/anna', readFile: async (path) => files[path], ...rest };
}

async function refusal(given: Parameters<typeof inputs>[0]): Promise<string> {
  const error = await loadConfig(inputs(given)).then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  expect(error).toBeInstanceOf(HawserError);
  return error instanceof HawserError ? error.message : '';
}

const file = '/srv/anna/.local/share/hawser/hawser.yaml';

test('without anything the defaults count and the data folder is the user’s', async () => {
  const { config, sources, file: read } = await loadConfig(inputs());
  expect(config.listen).toBe('127.0.0.1:7800');
  expect(config.dataDir).toBe('/srv/anna/.local/share/hawser');
  expect(config.uploads.chunkSize).toBe(16 * 1024 * 1024);
  expect(new Set(Object.values(sources).map(({ kind }) => kind))).toEqual(new Set(['default']));
  expect(Object.keys(sources)).toEqual(allSettings().map(({ path }) => path));
  expect(read).toBeUndefined();
});

test('the data folder of root and of XDG', () => {
  expect(usualDataDir({ uid: 0, env: { XDG_DATA_HOME: '/x' }, home: '/root' })).toBe('/var/lib/hawser');
  expect(usualDataDir({ uid: 1, env: { XDG_DATA_HOME: '/x' }, home: '/h' })).toBe('/x/hawser');
});

test('flag goes before environment, environment before file, file before default', async () => {
  const files = { '/d/hawser.yaml': 'listen: 1.1.1.1:1\ndataListen: 1.1.1.1:2\nuploads:\n  maxSize: 2GiB\n' };
  const loaded = await loadConfig(
    inputs({
      flags: { listen: '3.3.3.3:3' },
      env: { HAWSER_DATA_DIR: '/d', HAWSER_LISTEN: '2.2.2.2:2', HAWSER_DATA_LISTEN: '2.2.2.2:0' },
      files,
    }),
  );
  expect(loaded.config).toMatchObject({
    listen: '3.3.3.3:3',
    dataListen: '2.2.2.2:0',
    dataDir: '/d',
    uploads: { maxSize: 2 * 2 ** 30, awayAfterSeconds: 30 },
  });
  expect(loaded.sources).toMatchObject({
    listen: { kind: 'flag', flag: '--listen' },
    dataListen: { kind: 'environment', variable: 'HAWSER_DATA_LISTEN' },
    'uploads.maxSize': { kind: 'file', path: '/d/hawser.yaml', line: 4 },
    'uploads.awayAfterSeconds': { kind: 'default' },
  });
});

test('one word on a command line is a list of one; of stores it is none', async () => {
  const { config } = await loadConfig(inputs({ flags: { 'imageio.roots': '/srv/images' } }));
  expect(config.imageio.roots).toEqual(['/srv/images']);
  const more = await loadConfig(inputs({ env: { HAWSER_IMAGEIO_ROOTS: '[/a, "/b c"]' } }));
  expect(more.config.imageio.roots).toEqual(['/a', '/b c']);
  expect(await refusal({ flags: { stores: '/srv/images' } })).toMatch(/stores must be a list in JSON or YAML/);
});

test('numbers have units, null lifts a limit, a list is JSON in a variable', async () => {
  const env = {
    HAWSER_UPLOADS_CHUNK_SIZE: '32M',
    HAWSER_UPLOADS_EXPIRE_AFTER_SECONDS: '2d',
    HAWSER_LIMITS_TOTAL_RATE: '100MB',
    HAWSER_LIMITS_USER_RATE: 'null',
    HAWSER_STORES: '[{"name":"fast","path":"/fast"}]',
  };
  const { config } = await loadConfig(inputs({ env }));
  expect(config.uploads).toMatchObject({ chunkSize: 32 * 2 ** 20, expireAfterSeconds: 172_800 });
  expect(config.limits).toMatchObject({ totalRate: 100_000_000, userRate: null });
  expect(config.stores).toEqual([{ name: 'fast', driver: 'file', path: '/fast', tags: [] }]);
});

test.each([
  ['16M', 'bytes', 16 * 2 ** 20],
  ['16MiB', 'bytes', 16 * 2 ** 20],
  ['16mb', 'bytes', 16e6],
  ['1.5 G', 'bytes', 1.5 * 2 ** 30],
  ['7', 'bytes', 7],
  ['5m', 'seconds', 300],
  ['5M', 'bytes', 5 * 2 ** 20],
  ['-1', 'bytes', undefined],
  ['five', 'bytes', undefined],
  ['5 parsecs', 'seconds', undefined],
] as const)('"%s" of %s is %s', (text, unit, value) => {
  expect(parseNumber(text, unit)).toBe(value);
});

test('all faults are told at once, each with its place, what was found and what was meant', async () => {
  const message = await refusal({
    flags: { 'uploads.maxSize': 'huge' },
    env: { HAWSER_LISTN: '1', HAWSER_TLS_MODE: 'maybe', HAWSER_TOKEN: 'fine', HAWSER_PUBLIC_URL: 'hawser.example' },
    files: { [file]: '# mine\nlisten: nowhere\nuploads:\n  chunckSize: 1M\n  chunkSize: 5\nstores:\n  - nme: a\n' },
  });
  expect(message).toMatch(/flag --uploads-max-size: uploads\.maxSize must be .*16M.* or null; found "huge"/);
  expect(message).toMatch(/variable HAWSER_LISTN: there is no such setting; did you mean HAWSER_LISTEN\?/);
  expect(message).toMatch(/variable HAWSER_TLS_MODE: tls\.mode is not right: .*"auto".*found "maybe"/);
  expect(message).toMatch(/hawser\.yaml line 2: listen is not right: an address is host:port.*found "nowhere"/);
  expect(message).toMatch(
    /hawser\.yaml line 4: there is no setting "uploads\.chunckSize"; did you mean uploads\.chunkSize\?/,
  );
  expect(message).toMatch(/hawser\.yaml line 5: uploads\.chunkSize is not right: .*found 5/);
  expect(message).toMatch(/hawser\.yaml line 6: stores\.0 has no setting "nme"; did you mean name\?/);
  expect(message).toMatch(/variable HAWSER_PUBLIC_URL: publicUrl is not right: a URL is http.*found "hawser\.example"/);
  expect(message).not.toContain('HAWSER_TOKEN');
});

test('a file that is not YAML is refused with its line', async () => {
  expect(await refusal({ files: { [file]: 'listen: a:1\n  tls: : x\n' } })).toMatch(/hawser\.yaml line 2: /);
  expect(await refusal({ files: { [file]: '- a\n- b\n' } })).toMatch(/must be a mapping/);
});

test('a named file must be there; an empty one is fine', async () => {
  expect(await refusal({ env: { HAWSER_CONFIG: '/nowhere.yaml' } })).toMatch(/HAWSER_CONFIG: there is no file/);
  const { file: read } = await loadConfig(
    inputs({ env: { HAWSER_CONFIG: '/c.yaml' }, files: { '/c.yaml': '\n# nothing\n' } }),
  );
  expect(read).toBe('/c.yaml');
});

test('a file in the data folder cannot point to another data folder, a named one can', async () => {
  expect(await refusal({ files: { [file]: 'dataDir: /other\n' } })).toMatch(/HAWSER_CONFIG/);
  const files = { '/c.yaml': 'dataDir: /other\n' };
  expect((await loadConfig(inputs({ env: { HAWSER_CONFIG: '/c.yaml' }, files }))).config.dataDir).toBe('/other');
});

test('what is shown has a source for each value and no password', async () => {
  const env = { HAWSER_DATABASE_URL: 'postgres://me:s3cr@t@db:5432/h?sslpassword=s3cret2&x=1' };
  const shown = describeConfig(await loadConfig(inputs({ env })));
  expect(JSON.stringify(shown)).not.toContain('s3cr');
  expect(shown.find(({ path }) => path === 'databaseUrl')).toEqual({
    path: 'databaseUrl',
    value: 'postgres://me:***@db:5432/h?sslpassword=***&x=1',
    source: 'variable HAWSER_DATABASE_URL',
  });
  expect(shown.find(({ path }) => path === 'tls.mode')).toMatchObject({ value: 'auto', source: 'default' });
});
