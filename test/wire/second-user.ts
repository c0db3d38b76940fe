import { createHash, randomBytes, randomUUID } from 'node:crypto';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import pg from 'pg';
import type { Serving } from './serving.ts';

/** Makes another user in the server's own database, as an administrator of PostgreSQL could, and a token for them. */
export async function secondUser(serving: Serving, name: string): Promise<string> {
  const client = new pg.Client(await connectionOf(serving));
  await client.connect();
  try {
    const token = `hws_${randomBytes(32).toString('base64url')}`;
    await client.query("insert into users (name, role) values ($1, 'user') on conflict do nothing", [name]);
    await client.query('insert into api_tokens (id, user_name, name, hash) values ($1, $2, $3, $4)', [
      randomUUID(),
      name,
      'test',
      createHash('sha256').update(token).digest('hex'),
    ]);
    return token;
  } finally {
    await client.end();
  }
}

/** The socket of the embedded PostgreSQL lies somewhere below the data folder. */
async function connectionOf({ dataDir }: Serving): Promise<pg.ClientConfig> {
  for (const folder of ['run', 'pg', 'run/pg', '.']) {
    const names = await readdir(join(dataDir, folder)).catch(() => []);
    const socket = names.find((name) => /^\.s\.PGSQL\.\d+$/.test(name));
    if (socket !== undefined) {
      return {
        host: join(dataDir, folder),
        port: Number(socket.split('.').at(-1)),
        user: 'hawser',
        database: 'postgres',
      };
    }
  }
  throw new Error('The server has no PostgreSQL of its own in its data folder.');
}
