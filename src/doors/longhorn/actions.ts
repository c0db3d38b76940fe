import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { z } from 'zod';
import { HawserError, isHawserError } from '../../core/errors.ts';
import type { Actor, Upload } from '../../core/nouns.ts';
import type { UploadServerPlace } from '../../service/control/ports.ts';
import { expectsContinue } from '../_http/server.ts';
import type { Found } from './backing-images.ts';
import { type LonghornScope, nameOf, notUnderstood } from './scope.ts';
import type { UploadServerAnswer } from './upload-server-client.ts';
import { checksum, index, number } from './upload-server-query.ts';

/** What an action is given. */
interface Asked {
  readonly scope: LonghornScope;
  readonly actor: Actor;
  readonly found: Found;
  readonly request: FastifyRequest;
  readonly reply: FastifyReply;
}

type Action = (asked: Asked) => Promise<FastifyReply>;

const actions: Readonly<Record<string, Action>> = {
  uploadServerStart: async (asked) => {
    const size = number(await argumentsOf(asked.request), 'size');
    return pass(asked, (await start(asked, size)).answer);
  },
  chunkPrepare: async (asked) => {
    const given = await argumentsOf(asked.request);
    const query = {
      index: String(index(given)),
      size: String(number(given, 'size', 1)),
      checksum: checksum(given.get('checksum')),
    };
    const upload = await asked.scope.images.filling(asked.actor, asked.found);
    return pass(asked, await callServer(asked, upload, 'prepareChunk', query));
  },
  chunkUpload: (asked) => relayTo(asked, 'uploadChunk', queryOf(asked.request)),
  chunkCoalesce: coalesce,
  uploadServerClose: async (asked) => {
    const { actor, scope, found } = asked;
    if (found.image.state === 'failed') return asked.reply.code(200).send();
    const upload = await scope.images.filling(actor, found);
    const { uploadServers } = scope.images.use;
    const place = await uploadServers.recorded(actor, upload.id);
    if (place !== undefined) await closeServer(asked, place);
    await uploadServers.closed(actor, upload.id);
    return asked.reply.code(200).send();
  },
  upload: uploadWhole,
  backingImageCleanup: async (asked) => {
    const parsed = z.object({ disks: z.array(z.string()).min(1).max(1000) }).safeParse(await bodyOf(asked.request));
    if (!parsed.success) throw notUnderstood(parsed.error);
    const { actor, scope, found } = asked;
    const copyIds = parsed.data.disks.map((disk) => copyOn(found, disk));
    await scope.images.use.copies.cleanup(actor, found.image.id, copyIds);
    return resource(asked);
  },
  backupBackingImageCreate: async () => {
    throw new HawserError('unsupported', 'There are no backups yet. Download the image, or keep more copies of it.');
  },
  updateMinNumberOfCopies: async (asked) => {
    const body = z.object({ minNumberOfCopies: z.number().int().min(1).max(20) });
    const parsed = body.safeParse(await bodyOf(asked.request));
    if (!parsed.success) throw notUnderstood(parsed.error);
    const placement = { minCopies: parsed.data.minNumberOfCopies };
    await asked.scope.images.use.images.change(asked.actor, asked.found.image.id, { placement });
    return resource(asked);
  },
};

/** `POST /v1/backingimages/{name}?action=NAME`. Bodies of chunks are never parsed here: they are passed on as they come. */
export function backingImageActions(app: FastifyInstance, scope: LonghornScope): void {
  app.removeAllContentTypeParsers();
  app.addContentTypeParser('*', (_request, _payload, done) => done(null));
  app.post(
    '/backingimages/:name',
    { schema: { hide: true }, config: { ownsBody: true, quiet: true } },
    async (request, reply) => {
      const { action = '' } = request.query as { readonly action?: string };
      const act = Object.hasOwn(actions, action) ? actions[action] : undefined;
      if (act === undefined) {
        throw new HawserError(
          'bad-request',
          `There is no action "${action.slice(0, 50)}"; there are ${Object.keys(actions).join(', ')}.`,
        );
      }
      const actor = scope.actorOf(request);
      const found = await scope.images.find(actor, nameOf(request));
      return act({ scope, actor, found, request, reply });
    },
  );
}

/** Size and space, then the server. Where its Store has no room but another one has, the Upload is begun anew there. */
async function start(
  asked: Asked,
  size: number,
): Promise<{ readonly upload: Upload; readonly answer: UploadServerAnswer }> {
  const { actor, scope, found } = asked;
  let upload = await scope.images.begun(actor, found, size);
  if ((await scope.images.use.uploadServers.setSize(actor, upload.id, size)) === 'given up') {
    upload = await scope.images.begun(actor, await scope.images.find(actor, found.id), size);
  }
  return { upload, answer: await callServer(asked, upload, 'start', { size: String(size) }) };
}

/** The server finishes; then it is recorded here too, so that whoever looks next sees it. */
async function coalesce(asked: Asked): Promise<FastifyReply> {
  const { actor, scope, reply } = asked;
  const given = await argumentsOf(asked.request);
  const size = number(given, 'size');
  const count = number(given, 'count');
  const upload = await scope.images.filling(actor, asked.found);
  if (upload.state !== 'sealed') {
    const answer = await callServer(asked, upload, 'coalesceChunk', { size: String(size), count: String(count) });
    if (answer.status !== 200) return pass(asked, answer);
  }
  await finish(asked, upload, size);
  return reply.code(200).send();
}

/** Records what the server has sealed. Longhorn shows the SHA-512 of every file: one that is not known is computed by a Task. */
async function finish({ actor, scope, request }: Asked, upload: Upload, size: number): Promise<void> {
  const { uploads, images } = scope.images.use;
  const { image } = await uploads.finish(actor, upload.id, { size });
  if (image.state !== 'ready' || image.digests.some(({ algorithm }) => algorithm === 'sha512')) return;
  try {
    await images.digest(actor, image.id, 'sha512');
  } catch (error) {
    request.log.info({ event: 'checksum.not-begun', imageId: image.id, err: error });
  }
}

/** One that does not answer is closed already, or closed by its host a little later. */
async function closeServer({ scope, request }: Asked, place: UploadServerPlace): Promise<void> {
  try {
    await scope.client.call({ ...place, path: 'close', query: {} });
  } catch (error) {
    request.log.info({ event: 'upload-server.not-closed', address: place.address, err: error });
  }
}

/** The single request that shipped. */
async function uploadWhole(asked: Asked): Promise<FastifyReply> {
  const { actor, scope } = asked;
  const size = number(queryOf(asked.request), 'size');
  const { upload, answer } = await start(asked, size);
  if (answer.status !== 200) return pass(asked, answer);
  const place = await scope.images.use.uploadServers.place(actor, upload.id);
  const to = { ...place, path: 'upload', query: { size: String(size) } };
  if ((await scope.client.relay(asked.request, asked.reply, to)) === 200) await finish(asked, upload, size);
  return asked.reply;
}

async function relayTo(asked: Asked, path: string, given: URLSearchParams): Promise<FastifyReply> {
  const upload = await asked.scope.images.filling(asked.actor, asked.found);
  const place = await asked.scope.images.use.uploadServers.place(asked.actor, upload.id);
  given.delete('action');
  await asked.scope.client.relay(asked.request, asked.reply, { ...place, path, query: Object.fromEntries(given) });
  return asked.reply;
}

/** A server that does not answer is launched again: its host was restarted. */
async function callServer(
  { scope, actor }: Asked,
  upload: Upload,
  path: string,
  query: Readonly<Record<string, string>>,
): Promise<UploadServerAnswer> {
  const { uploadServers } = scope.images.use;
  const place = await uploadServers.place(actor, upload.id);
  try {
    return await scope.client.call({ ...place, path, query });
  } catch (error) {
    if (!isHawserError(error, 'unavailable')) throw error;
    return scope.client.call({ ...(await uploadServers.launch(actor, upload.id)), path, query });
  }
}

function pass({ reply }: Asked, { status, type, body }: UploadServerAnswer): FastifyReply {
  const answer = reply.code(status).serializer(String);
  return type === undefined ? answer.send() : answer.type(type).send(body);
}

async function resource({ scope, actor, request, reply, found }: Asked): Promise<FastifyReply> {
  return reply.code(200).send(await scope.images.show(actor, found.id, scope.baseOf(request)));
}

function copyOn({ image }: Found, disk: string): string {
  const copy = image.copies.find(({ storeId }) => storeId === disk);
  if (copy !== undefined) return copy.id;
  throw new HawserError('not-found', `The backing image "${image.name}" has no file on the disk ${disk}.`);
}

function queryOf(request: FastifyRequest): URLSearchParams {
  return new URL(request.url, 'http://control').searchParams;
}

/** Arguments come in the query, as upload servers take them, or as a JSON body, as Rancher's actions do. */
async function argumentsOf(request: FastifyRequest): Promise<URLSearchParams> {
  const given = queryOf(request);
  const body = z.record(z.string(), z.union([z.string(), z.number()])).safeParse((await bodyOf(request)) ?? {});
  if (!body.success) throw notUnderstood(body.error);
  for (const [name, value] of Object.entries(body.data)) if (!given.has(name)) given.set(name, String(value));
  return given;
}

const MOST_BODY = 256 * 1024;

async function bodyOf(request: FastifyRequest): Promise<unknown> {
  if (expectsContinue(request)) throw new HawserError('bad-request', 'This action takes no body that needs Expect.');
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of request.raw as AsyncIterable<Buffer>) {
    length += chunk.length;
    if (length > MOST_BODY)
      throw new HawserError('too-large', `The body of this action is at most ${MOST_BODY} bytes.`);
    chunks.push(chunk);
  }
  const text = Buffer.concat(chunks).toString();
  const isJson = /\bjson\b/i.test(request.headers['content-type'] ?? '');
  if (text.trim() === '' || !isJson) return undefined;
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new HawserError('bad-request', 'The body is not JSON.', { cause });
  }
}
