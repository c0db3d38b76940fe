import { randomBytes } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type Client, type ClientReadableStream, credentials, status } from '@grpc/grpc-js';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { BackingImageResponse } from '../../src/doors/longhorn/grpc-messages.ts';
import { backingImageManagerService } from '../../src/doors/longhorn/grpc-service.ts';
import { Caller, MiB } from './caller.ts';
import { checksumOf, evenCuts, LonghornClient } from './longhorn-client.ts';
import { type Serving, startServing } from './serving.ts';

const env = {
  HAWSER_LONGHORN_UPLOAD_PORTS: '0',
  HAWSER_AGENT_LISTEN: '127.0.0.1:0',
  HAWSER_LONGHORN_GRPC_LISTEN: '127.0.0.1:0',
  HAWSER_LONGHORN_OPEN: 'on',
  HAWSER_LONGHORN_OPEN_UPLOAD_SERVERS: 'on',
};

interface Agent {
  readonly serving: Serving;
  readonly address: string;
  readonly client: Client;
}
let one: Agent;
let two: Agent;

async function startAgent(): Promise<Agent> {
  const serving = await startServing({ env });
  const addresses = JSON.parse(await readFile(join(serving.dataDir, 'run', 'addresses.json'), 'utf8'));
  const address: string = addresses.longhornGrpc;
  const Service = backingImageManagerService();
  return { serving, address, client: new Service(address, credentials.createInsecure()) };
}

beforeAll(async () => {
  [one, two] = await Promise.all([startAgent(), startAgent()]);
});
afterAll(async () => {
  for (const agent of [one, two]) {
    agent?.client.close();
    await agent?.serving[Symbol.asyncDispose]();
  }
});

function call<T = BackingImageResponse>({ client }: Agent, method: string, request: unknown = {}): Promise<T> {
  return new Promise((resolve, reject) => {
    const act: unknown = Reflect.get(client, method);
    if (typeof act !== 'function') throw new Error(`no ${method}`);
    Reflect.apply(act, client, [
      request,
      (error: Error | null, answer: T) => (error ? reject(error) : resolve(answer)),
    ]);
  });
}

/** The original's client against an upload server itself. */
async function upload(port: number, bytes: Buffer): Promise<void> {
  const base = `http://127.0.0.1:${port}/v1-bi-upload`;
  const post = async (path: string, form?: FormData) => {
    const answer = await fetch(`${base}/${path}`, { method: 'POST', ...(form === undefined ? {} : { body: form }) });
    const text = await answer.text();
    if (answer.status !== 200) throw new Error(`${path}: ${answer.status} ${text}`);
    return text;
  };
  await post(`start?size=${bytes.length}`);
  const cuts = evenCuts(bytes.length, 1 * MiB);
  for (const { index, offset, length } of cuts) {
    const chunk = bytes.subarray(offset, offset + length);
    const checksum = checksumOf(chunk);
    expect(await post(`prepareChunk?index=${index}&size=${length}&checksum=${checksum}`)).toBe('{"exists":false}');
    const form = new FormData();
    form.append('index', String(index));
    form.append('checksum', checksum);
    form.append('chunk', new Blob([Buffer.from(chunk)]), 'blob');
    await post('uploadChunk', form);
  }
  await post(`coalesceChunk?size=${bytes.length}&count=${cuts.length}`);
  await post(`coalesceChunk?size=${bytes.length}&count=${cuts.length}`);
  await post('close');
}

test('launch, upload, get, list, sync to another agent, delete', async () => {
  const bytes = randomBytes(3 * MiB + 5);
  const spec = { name: 'alone', uuid: 'a1b2c3d4', size: bytes.length };
  const launched = await call(one, 'UploadServerLaunch', { spec });
  expect(launched.status).toMatchObject({ state: 'pending', progress: 0 });
  expect(launched.status.upload_port).toBeGreaterThan(0);
  await expect(call(one, 'UploadServerLaunch', { spec })).rejects.toMatchObject({ code: status.ALREADY_EXISTS });
  await upload(launched.status.upload_port, bytes);
  const ready = await call(one, 'Get', { name: 'alone' });
  expect(ready).toMatchObject({
    spec: { name: 'alone', uuid: 'a1b2c3d4', size: bytes.length },
    status: { state: 'ready', progress: 100, upload_port: 0 },
  });
  expect((await call(one, 'UploadServerLaunch', { spec })).status).toMatchObject({ state: 'ready', upload_port: 0 });

  const changes: unknown[] = [];
  const watching = Reflect.apply(Reflect.get(two.client, 'Watch'), two.client, [{}]) as ClientReadableStream<unknown>;
  watching.on('data', (change: unknown) => changes.push(change));
  watching.on('error', () => {});
  const sync = { backing_image_spec: spec, from_host: one.address, to_host: '127.0.0.1' };
  expect((await call(two, 'Sync', sync)).status.sender_manager_address).toBe(one.address);
  await expect
    .poll(async () => (await call(two, 'Get', { name: 'alone' })).status.state, { timeout: 30_000 })
    .toBe('ready');
  expect(changes.length).toBeGreaterThan(0);
  watching.cancel();
  const list = await call<{ backing_images: Record<string, BackingImageResponse> }>(two, 'List');
  expect(Object.keys(list.backing_images)).toEqual(['alone']);
  expect((await call(one, 'Get', { name: 'alone' })).status.sending_reference).toBe(0);

  await call(two, 'Delete', { name: 'alone' });
  await call(two, 'Delete', { name: 'alone' });
  await expect(call(two, 'Get', { name: 'alone' })).rejects.toMatchObject({ code: status.NOT_FOUND });
});

test('what control begins is seen here, and stays control’s', async () => {
  const client = new LonghornClient(one.serving.api, undefined);
  const bytes = randomBytes(2 * MiB);
  const made = await client.create('of-control');
  const seen = await call(one, 'Get', { name: 'of-control' });
  expect(seen.spec.uuid).toBe(made.uuid);
  expect(seen.status).toMatchObject({ state: 'pending', upload_port: Number(made.uploadAddress.split(':')[1]) });
  await client.uploadAll('of-control', bytes, evenCuts(bytes.length, 1 * MiB));
  expect((await call(one, 'Get', { name: 'of-control' })).status.state).toBe('ready');
  await expect(call(one, 'Delete', { name: 'of-control' })).rejects.toMatchObject({ code: status.FAILED_PRECONDITION });
  await client.ok('DELETE', '/backingimages/of-control');
  await expect(call(one, 'Get', { name: 'of-control' })).rejects.toMatchObject({ code: status.NOT_FOUND });
  const api = new Caller(one.serving.api, one.serving.token);
  expect((await api.ok<{ items: unknown[] }>('GET', '/images')).items).toEqual([]);
});

test('wrong requests and what is not here', async () => {
  await expect(call(one, 'UploadServerLaunch', { spec: { name: 'x' } })).rejects.toMatchObject({
    code: status.INVALID_ARGUMENT,
  });
  await expect(call(one, 'UploadServerLaunch', {})).rejects.toMatchObject({ code: status.INVALID_ARGUMENT });
  await expect(call(one, 'Get', { name: 'nobody' })).rejects.toMatchObject({ code: status.NOT_FOUND });
  await expect(call(one, 'Send', { name: 'nobody', to_address: '127.0.0.1:1' })).rejects.toMatchObject({
    code: status.NOT_FOUND,
  });
  await expect(call(one, 'Pull', { spec: { name: 'x' } })).rejects.toMatchObject({ code: status.UNIMPLEMENTED });
  expect(await call<Record<string, unknown>>(one, 'VersionGet')).toMatchObject({
    backing_image_manager_api_version: 2,
  });
});

test('without the flag a certificate of control or of an agent is wanted', async () => {
  const { HAWSER_LONGHORN_OPEN_UPLOAD_SERVERS: _open, ...closed } = env;
  await using serving = await startServing({ env: closed });
  const addresses = JSON.parse(await readFile(join(serving.dataDir, 'run', 'addresses.json'), 'utf8'));
  const Service = backingImageManagerService();
  const client = new Service(addresses.longhornGrpc, credentials.createInsecure());
  const guarded = { serving, address: addresses.longhornGrpc, client };
  await expect(call(guarded, 'List')).rejects.toMatchObject({ code: status.UNAVAILABLE });
  client.close();
});
