import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, readdir, readlink, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pg from 'pg';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { startPostgres } from './postgres.ts';
import { locatePostgres, processesOf, runAs } from './postgres-program.ts';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'hawser-pg-'));
});
afterEach(async () => {
  await rm(folder, { recursive: true, force: true });
});

async function ask(connection: pg.ClientConfig, text: string): Promise<readonly unknown[]> {
  const client = new pg.Client(connection);
  await client.connect();
  try {
    return (await client.query(text)).rows;
  } finally {
    await client.end();
  }
}

async function until(isSo: () => Promise<boolean>): Promise<void> {
  while (!(await isSo())) await new Promise((resolve) => setTimeout(resolve, 10));
}

/** A process of its own that starts PostgreSQL and says where; `as` comes before node. */
async function startedBy(
  as: readonly string[],
): Promise<{ child: ChildProcess; said: { url: string; pid: number; uid: number } }> {
  const program = `
    const { startPostgres } = await import(${JSON.stringify(new URL('./postgres.ts', import.meta.url).href)});
    const postgres = await startPostgres({ dataDir: ${JSON.stringify(folder)} });
    console.log(JSON.stringify({ url: postgres.url, pid: postgres.pid, uid: process.getuid() }));
    setInterval(() => {}, 1000);`;
  const [command = '', ...args] = [...as, process.execPath, '--input-type=module', '-e', program];
  const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'inherit'] });
  const [line] = (await once(child.stdout, 'data')) as [Buffer];
  return { child, said: JSON.parse(line.toString()) };
}

test('it listens on a private unix socket only, keeps fsync on, and stops without a trace', async () => {
  const postgres = await startPostgres({ dataDir: folder });
  const settings =
    "select name, setting from pg_settings where name in ('fsync', 'full_page_writes', 'listen_addresses') order by name";
  expect(await ask(postgres.connection, settings)).toEqual([
    { name: 'fsync', setting: 'on' },
    { name: 'full_page_writes', setting: 'on' },
    { name: 'listen_addresses', setting: '' },
  ]);
  expect(await ask({ connectionString: postgres.url }, 'select 1 as one')).toEqual([{ one: 1 }]);
  expect((await stat(postgres.connection.host)).mode & 0o777).toBe(0o700);
  await postgres.stop();
  await postgres.stop();
  expect(await processesOf(join(folder, 'pg'))).toEqual([]);
});

test('killed -9 it is started again, and what was committed is there', async () => {
  const postgres = await startPostgres({ dataDir: folder });
  const pool = new pg.Pool({ ...postgres.connection, max: 3 });
  const broken: Error[] = [];
  pool.on('error', (error) => broken.push(error));
  await pool.query('create table t (n int)');
  await pool.query('insert into t values (7)');
  const first = postgres.pid;
  process.kill(first, 'SIGKILL');
  await until(async () => {
    try {
      return postgres.pid !== first && (await pool.query('select n from t')).rows[0].n === 7;
    } catch {
      return false;
    }
  });
  await pool.end();
  await postgres.stop();
});

test('it dies with the process that started it', async () => {
  const { child, said } = await startedBy([]);
  expect(await processesOf(join(folder, 'pg'))).toContain(said.pid);
  child.kill('SIGKILL');
  await once(child, 'exit');
  await until(async () => (await processesOf(join(folder, 'pg'))).length === 0);
});

test('a left-over of an earlier run is replaced, with its stale socket and lock files', async () => {
  const first = await startPostgres({ dataDir: folder });
  await ask(first.connection, 'create table t (n int)');
  await first.stop();
  const pgDir = join(folder, 'pg');
  const { postgres: program, env } = await locatePostgres(join(folder, 'lib'));
  const { prefix } = await runAs(pgDir);
  const own = ['-c', 'listen_addresses=', '-c', `unix_socket_directories=${join(folder, 'run', 'pg')}`];
  const [command = '', ...args] = [...prefix, program, '-D', pgDir, ...own];
  const leftOver = spawn(command, args, { env, cwd: pgDir, stdio: 'ignore' });
  const gone = once(leftOver, 'exit');
  await until(async () => (await processesOf(pgDir)).length > 3);
  const second = await startPostgres({ dataDir: folder });
  await gone;
  expect(second.pid).not.toBe(leftOver.pid);
  expect(await ask(second.connection, 'select count(*)::int as n from t')).toEqual([{ n: 0 }]);
  await second.stop();
});

test('a postmaster.pid that names another living program is not believed', async () => {
  await (await startPostgres({ dataDir: folder })).stop();
  await writeFile(join(folder, 'pg', 'postmaster.pid'), `${process.pid}\n${join(folder, 'pg')}\n`);
  const postgres = await startPostgres({ dataDir: folder });
  expect(await ask(postgres.connection, 'select 1 as one')).toEqual([{ one: 1 }]);
  await postgres.stop();
});

test('a half-made database of a killed first start is made anew', async () => {
  await mkdir(join(folder, 'pg.new'));
  await writeFile(join(folder, 'pg.new', 'PG_VERSION'), '18\n');
  const postgres = await startPostgres({ dataDir: folder });
  await postgres.stop();
  expect(await readdir(folder)).not.toContain('pg.new');
});

test('a data folder whose path is too long for a socket gets a short private one, and keeps it', async () => {
  const deep = join(folder, 'd'.repeat(60), 'e'.repeat(60));
  const first = await startPostgres({ dataDir: deep });
  expect(first.connection.host.length).toBeLessThan(60);
  expect((await stat(first.connection.host)).mode & 0o777).toBe(0o700);
  await first.stop();
  const second = await startPostgres({ dataDir: deep });
  expect(second.connection.host).toBe(first.connection.host);
  await second.stop();
  await rm(first.connection.host, { recursive: true });
});

test('it runs for an ordinary user too', async () => {
  const namespace = ['unshare', '--user', '--map-user=1000', '--map-group=1000'];
  const { child, said } = await startedBy(process.getuid?.() === 0 ? namespace : []);
  expect(said.uid).not.toBe(0);
  expect(await ask({ connectionString: said.url }, 'select 1 as one')).toEqual([{ one: 1 }]);
  child.kill('SIGKILL');
  await once(child, 'exit');
  await until(async () => (await processesOf(join(folder, 'pg'))).length === 0);
});

test('library links that the package did not make are made outside of it', async () => {
  const native = join(folder, 'native');
  await mkdir(join(native, 'lib'), { recursive: true });
  await writeFile(join(native, 'lib', 'libx.so.1.2'), '');
  const links = [{ source: 'native/lib/libx.so.1.2', target: 'native/lib/libx.so.1' }];
  await writeFile(join(native, 'pg-symlinks.json'), JSON.stringify(links));
  for (let run = 0; run < 2; run++) {
    const program = await locatePostgres(join(folder, 'lib'), native);
    expect(program.env.LD_LIBRARY_PATH).toBe(`${join(folder, 'lib')}:${join(native, 'lib')}`);
  }
  expect(await readlink(join(folder, 'lib', 'libx.so.1'))).toBe(join(native, 'lib', 'libx.so.1.2'));
});
