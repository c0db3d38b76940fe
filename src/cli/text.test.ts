import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { mapLines } from './commands/image-map.ts';
import { findServer } from './find-server.ts';
import { buildProgram } from './program.ts';
import { renderLine } from './progress-line.ts';
import { formatBytes, formatSeconds, parseBytes, shorten, table } from './text.ts';

test('sizes are written and read in powers of 1024', () => {
  expect([0, 1023, 1024, 1536, 10 * 2 ** 30, 123 * 2 ** 40].map(formatBytes)).toEqual([
    '0 B',
    '1023 B',
    '1.0 KiB',
    '1.5 KiB',
    '10.0 GiB',
    '123 TiB',
  ]);
  expect(['4096', '10G', '1.5 GiB', '512k', '2mb', '', 'x', '-1', '1e3'].map(parseBytes)).toEqual([
    4096,
    10 * 2 ** 30,
    1.5 * 2 ** 30,
    512 * 1024,
    2 * 2 ** 20,
    undefined,
    undefined,
    undefined,
    undefined,
  ]);
});

test('times read well', () => {
  expect([0, 59.4, 61, 3599, 7500].map(formatSeconds)).toEqual([
    '0 s',
    '59 s',
    '1 min 01 s',
    '59 min 59 s',
    '2 h 05 min',
  ]);
});

test('a table fits the terminal and lets no control character through', () => {
  const text = table(['ID', 'NAME', 'STATUS'], [['1', `${'n'.repeat(200)}\u001b[31m`, 's'.repeat(90)]], 80);
  for (const line of text.split('\n')) expect([...line].length).toBeLessThanOrEqual(80);
  expect(text).not.toContain('\u001b');
});

test('a progress line never breaks, however narrow the terminal and however long the name', () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 5, max: 200 }),
      fc.string({ maxLength: 80 }),
      fc.nat(1000),
      fc.option(fc.string()),
      (width, name, done, waiting) => {
        const line = renderLine(
          { name, doing: 'sending', done, total: 1000, rate: 5e8, secondsLeft: 4000, waiting },
          width,
        );
        expect([...line].length).toBeLessThanOrEqual(width);
        expect(line).not.toMatch(/\p{Cc}/u);
      },
    ),
  );
  const wide = renderLine(
    {
      name: 'disk',
      doing: 'sending',
      done: 512 * 2 ** 20,
      total: 2 ** 30,
      rate: 2 ** 20,
      secondsLeft: 512,
      waiting: null,
    },
    110,
  );
  expect(wide).toBe(
    'disk  [###############---------------]  sending  50%  512 MiB / 1.0 GiB  1.0 MiB/s  8 min 32 s left',
  );
  expect(shorten('abcdefgh', 5)).toBe('ab…gh');
});

test('a map shows data, parts and holes', () => {
  const extents = [
    { kind: 'data' as const, offset: 0, length: 150 },
    { kind: 'hole' as const, offset: 150, length: 250 },
  ];
  expect(mapLines(extents, 400, { cells: 4, width: 2 })).toEqual(['       0 B  █▒', '     200 B  ··']);
});

test('every command has a description, and so has every argument', () => {
  const walk = (command: ReturnType<typeof buildProgram>): void => {
    expect(command.description(), command.name()).not.toBe('');
    for (const argument of command.registeredArguments) expect(argument.description, command.name()).not.toBe('');
    for (const option of command.options) expect(option.description, option.flags).not.toBe('');
    for (const below of command.commands) walk(below);
  };
  walk(buildProgram());
});

describe('the server is found', () => {
  let home: string;
  beforeAll(async () => {
    home = await mkdtemp(join(tmpdir(), 'hawser-find-'));
    await mkdir(join(home, 'data', 'run'), { recursive: true });
    await writeFile(join(home, 'data', 'run', 'addresses.json'), '{"api":"http://127.0.0.1:7800"}');
    await writeFile(join(home, 'data', 'run', 'admin-token'), 'local\n');
    await mkdir(join(home, 'xdg', 'hawser'), { recursive: true });
    await writeFile(join(home, 'xdg', 'hawser', 'login.json'), '{"server":"https://far:1","token":"kept"}');
  });
  afterAll(() => rm(home, { recursive: true, force: true }));
  const nowhere = () => ({ XDG_CONFIG_HOME: join(home, 'none'), HAWSER_DATA_DIR: join(home, 'none') });

  test('by flag before environment, login file and data folder', async () => {
    const env = { ...nowhere(), HAWSER_SERVER: 'b:2', HAWSER_TOKEN: 'e' };
    expect(await findServer({ server: 'a:1', token: 'f' }, env)).toMatchObject({ server: 'http://a:1', token: 'f' });
    expect(await findServer({}, env)).toMatchObject({ server: 'http://b:2', token: 'e' });
  });

  test('by login file, with its token also when the same server is named', async () => {
    const env = {
      ...nowhere(),
      XDG_CONFIG_HOME: join(home, 'xdg'),
      HAWSER_DATA_DIR: '',
      XDG_DATA_HOME: join(home, 'none'),
    };
    expect(await findServer({}, env)).toMatchObject({ server: 'https://far:1', token: 'kept' });
    expect(await findServer({ server: 'https://far:1/' }, env)).toMatchObject({ token: 'kept' });
    expect(await findServer({ server: 'https://other:1' }, env)).toMatchObject({ token: undefined });
  });

  test('by a data folder that was named, before a sign-in elsewhere', async () => {
    const env = { XDG_CONFIG_HOME: join(home, 'xdg'), HAWSER_DATA_DIR: join(home, 'data') };
    expect(await findServer({}, env)).toMatchObject({ server: 'http://127.0.0.1:7800', token: 'local' });
  });

  test('or the error says what was tried', async () => {
    await expect(findServer({}, nowhere())).rejects.toMatchObject({
      code: 'unavailable',
      message: expect.stringMatching(/--server.*HAWSER_SERVER.*login\.json.*addresses\.json/),
    });
  });
});
