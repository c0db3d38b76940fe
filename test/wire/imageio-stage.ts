import { randomUUID } from 'node:crypto';
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { request as httpRequest, type IncomingHttpHeaders } from 'node:http';
import { request as httpsRequest } from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { configSchema } from '../../src/config/schema.ts';
import type { Mover } from '../../src/core/mover.ts';
import type { Sender } from '../../src/core/sender.ts';
import { SlabPool } from '../../src/engine/slab-pool.ts';
import { openDataFolder } from '../../src/host/data-folder.ts';
import { openMoverLanes, openSenderLanes } from '../../src/native/lanes.ts';
import { openTickets, startImageio } from '../../src/roles/imageio-part.ts';
import type { HostTickets } from '../../src/service/host/host-tickets.ts';

/** The imageio door as serve has it, without the rest: real listeners, real files, a folder of its own. */
export interface Stage extends AsyncDisposable {
  readonly http: string;
  readonly https: string;
  readonly unix: string;
  readonly control: string;
  readonly addresses: Readonly<Record<string, string>>;
  /** Tickets may open what lies here. */
  readonly images: string;
  readonly folder: string;
  readonly tickets: HostTickets;
  readonly slabs: SlabPool;
  /** Bytes that went through the mover. */
  moved(): number;
  /** Bytes that the sender sent. */
  sent(): number;
  /** What was logged. */
  readonly log: Readonly<Record<string, unknown>>[];
  /** Installs a ticket; its id. */
  ticket(values: Readonly<Record<string, unknown>>): Promise<string>;
  call(target: Target): Promise<Answer>;
}

export interface Target {
  /** Base URL, or the path of a unix socket. */
  readonly to: string;
  readonly method?: string;
  readonly path: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string | Uint8Array;
}

export interface Answer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  /** As they came. */
  readonly rawHeaders: readonly string[];
  readonly body: Buffer;
  readonly text: string;
}

export async function startStage(settings: Readonly<Record<string, unknown>> = {}, slabs = 8): Promise<Stage> {
  await using undo = new AsyncDisposableStack();
  const folder = await mkdtemp(join(tmpdir(), 'hawser-imageio-'));
  undo.defer(() => rm(folder, { recursive: true, force: true }));
  const images = join(folder, 'images');
  await mkdir(images);
  const config = configSchema.parse({
    imageio: {
      https: '127.0.0.1:0',
      http: '127.0.0.1:0',
      unix: join(folder, 'data.sock'),
      control: join(folder, 'control.sock'),
      roots: [images],
      ...settings,
    },
  });
  const data = undo.use(await openDataFolder(join(folder, 'data')));
  const said: Record<string, unknown>[] = [];
  const note = (fields: Readonly<Record<string, unknown>>) => void said.push(fields);
  const log = { info: note, warn: note, error: note };
  const pool = new SlabPool(slabs);
  const count = { moved: 0, sent: 0 };
  const realMover = undo.use(openMoverLanes({ hashers: 0 }));
  const mover = realMover && watchedMover(realMover, (bytes) => (count.moved += bytes));
  const realSender = undo.use(openSenderLanes());
  const sender = realSender && watchedSender(realSender, (bytes) => (count.sent += bytes));
  const tickets = await openTickets({ config, folder: data, slabs: pool, mover, sender, bootId: 'boot', log }, undo);
  const addresses = await startImageio({ config, folder: data, tickets, version: '0.0.0', log }, undo);
  const path = (name: string) => addresses[name]?.replace(/^unix:/, '') ?? '';
  const control = path('control');
  const cleanup = undo.move();
  return {
    http: path('imageioHttp'),
    https: path('imageioHttps'),
    unix: path('imageioUnix'),
    control,
    addresses,
    images,
    folder,
    tickets,
    slabs: pool,
    moved: () => count.moved,
    sent: () => count.sent,
    log: said,
    call,
    async ticket(values) {
      const uuid = randomUUID();
      const body = { uuid, size: 65_536, ops: ['write'], timeout: 300, ...values };
      const answer = await call({ to: control, method: 'PUT', path: `/tickets/${uuid}`, body: JSON.stringify(body) });
      if (answer.status !== 200) throw new Error(`no ticket: ${answer.status} ${answer.text}`);
      return 'uuid' in values ? String(values.uuid) : uuid;
    },
    [Symbol.asyncDispose]: () => cleanup.disposeAsync(),
  };
}

/** A mover that tells how much goes through it. The same one for the same lane: slabs go by it. */
function watchedMover(mover: Mover, tell: (bytes: number) => void): Mover {
  const lanes = new WeakMap<Mover, Mover>();
  return {
    begin: (request, events) =>
      mover.begin(request, {
        moved: (segments) => {
          for (const { length } of segments) tell(length);
          events.moved(segments);
        },
        ended: events.ended,
      }),
    ...(mover.lane && {
      lane: (place) => {
        const lane = mover.lane?.(place);
        if (lane === undefined) return undefined;
        const watched = lanes.get(lane) ?? watchedMover(lane, tell);
        lanes.set(lane, watched);
        return watched;
      },
    }),
  };
}

/** A sender that tells how much it sends. */
function watchedSender(sender: Sender, tell: (bytes: number) => void): Sender {
  return {
    begin: (request, events) =>
      sender.begin(request, {
        sent: (bytes) => {
          tell(bytes);
          events.sent(bytes);
        },
        ended: events.ended,
      }),
    ...(sender.lane && {
      lane: (place) => {
        const lane = sender.lane?.(place);
        return lane && watchedSender(lane, tell);
      },
    }),
  };
}

/** One request on a connection of its own. */
export function call({ to, method = 'GET', path, headers = {}, body }: Target): Promise<Answer> {
  const where = to.startsWith('/') ? { socketPath: to } : new URL(to);
  const send = to.startsWith('https:') ? httpsRequest : httpRequest;
  const place = where instanceof URL ? { host: where.hostname, port: where.port } : where;
  return new Promise((resolve, reject) => {
    const length = body === undefined ? {} : { 'content-length': String(Buffer.byteLength(body)) };
    const request = send(
      { ...place, method, path, headers: { ...length, ...headers }, agent: false, rejectUnauthorized: false },
      (response) => {
        const chunks: Buffer[] = [];
        response.on('data', (chunk: Buffer) => chunks.push(chunk));
        response.once('error', reject);
        response.once('end', () => {
          const whole = Buffer.concat(chunks);
          resolve({
            status: response.statusCode ?? 0,
            headers: response.headers,
            rawHeaders: response.rawHeaders,
            body: whole,
            text: whole.toString(),
          });
        });
      },
    );
    request.once('error', reject);
    request.end(body);
  });
}
