import { Readable } from 'node:stream';
import type { WebSocket } from '@fastify/websocket';
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { z } from 'zod';
import { type ApiEvent, apiEvent } from '../../contract/api/events.ts';
import { HawserError, isHawserError } from '../../core/errors.ts';
import type { Change } from '../../service/control/use-cases.ts';
import { type ApiScope, problems } from './api-scope.ts';
import { actorOf, credentialOf } from './authenticate.ts';
import { eventResourceOf, type Told } from './event-resource.ts';

export interface EventSettings {
  /** How often a sign of life is sent and the credential is looked at again. */
  readonly pingSeconds: number;
  /** Bytes that may wait for a slow client before it is dropped. */
  readonly maxWaiting: number;
}

export const usualEvents: EventSettings = { pingSeconds: 20, maxWaiting: 1024 * 1024 };

/**
 * `GET /events`: live state over a WebSocket, or as `text/event-stream`. `hello` comes first; nothing
 * is replayed. A client that does not keep up is dropped: it reconnects and reads its lists again.
 */
export function eventRoutes(app: FastifyInstance, scope: ApiScope, settings: EventSettings): void {
  const closing = new Set<() => void>();
  app.addHook('preClose', async () => {
    for (const close of closing) close();
  });
  app.route({
    method: 'GET',
    url: '/events',
    schema: {
      operationId: 'events',
      tags: ['events'],
      summary: 'Live state: WebSocket, or text/event-stream when asked for',
      description:
        'One JSON object a message (or a `data:` line). `hello` comes first; then each event carries the whole resource as it is now. Nothing is replayed: after a reconnection read your lists again. A client that does not keep up is dropped.',
      response: {
        200: { description: 'Events.', content: { 'text/event-stream': { schema: apiEvent } } },
        101: z.null().describe('The WebSocket is open.'),
        ...problems,
      },
    },
    config: { quiet: true },
    handler: (request, reply) => {
      const outlet = eventStream();
      closing.add(outlet.end);
      outlet.stream.once('close', () => closing.delete(outlet.end));
      requireEventStream(request);
      follow(request, outlet, { scope, settings });
      return reply
        .header('cache-control', 'no-store')
        .header('x-accel-buffering', 'no')
        .type('text/event-stream')
        .send(outlet.stream);
    },
    wsHandler: (socket, request) => follow(request, socketOutlet(socket), { scope, settings }),
  });
}

/** Where events go. */
interface Outlet {
  send(text: string): void;
  /** A sign of life; ends the outlet when the last one was not answered. */
  ping(): void;
  waiting(): number;
  drop(reason: string): void;
  onceClosed(listener: () => void): void;
}

interface Feed {
  readonly scope: ApiScope;
  readonly settings: EventSettings;
}

function follow(request: FastifyRequest, outlet: Outlet, { scope, settings }: Feed): void {
  const { accounts, changes } = scope.useCases;
  const credential = credentialOf(request);
  const hello = JSON.stringify({ kind: 'hello', version: scope.version } satisfies ApiEvent);
  outlet.send(hello);
  const unsubscribe = changes.subscribe(actorOf(request), (change) => {
    if (outlet.waiting() > settings.maxWaiting) {
      request.log.info({ event: 'events.dropped', waiting: outlet.waiting() });
      stop();
      outlet.drop('too slow: read your lists again');
      return;
    }
    outlet.send(change.kind === 'missed' ? hello : textOf(change, scope.chunkSize));
  });
  const timer = setInterval(() => {
    outlet.ping();
    accounts.actorOf(credential).catch((error: unknown) => {
      // Anything else (the database is away) says nothing about who this is.
      if (isHawserError(error, 'unauthenticated')) outlet.drop('signed out');
    });
  }, settings.pingSeconds * 1000);
  timer.unref();
  const stop = () => {
    clearInterval(timer);
    unsubscribe();
  };
  outlet.onceClosed(stop);
}

/** A change goes to many clients: it is written as text once. */
const texts = new WeakMap<Change, string>();

function textOf(change: Told, chunkSize: number): string {
  const known = texts.get(change);
  if (known !== undefined) return known;
  const text = JSON.stringify(eventResourceOf(change, chunkSize));
  texts.set(change, text);
  return text;
}

function socketOutlet(socket: WebSocket): Outlet {
  let answered = true;
  socket.on('pong', () => {
    answered = true;
  });
  return {
    send: (text) => socket.send(text),
    ping: () => {
      if (!answered) return socket.terminate();
      answered = false;
      socket.ping();
    },
    waiting: () => socket.bufferedAmount,
    drop: (reason) => {
      // The close frame waits behind what the client does not read, so the connection goes as well.
      socket.close(1013, reason);
      socket.terminate();
    },
    onceClosed: (listener) => void socket.once('close', listener),
  };
}

function eventStream(): Outlet & { readonly stream: Readable; readonly end: () => void } {
  const stream = new Readable({ read: () => undefined });
  const push = (text: string) => {
    if (!stream.destroyed && !stream.readableEnded) stream.push(text);
  };
  return {
    stream,
    end: () => push0(stream),
    send: (text) => push(`data: ${text}\n\n`),
    ping: () => push(': alive\n\n'),
    waiting: () => stream.readableLength,
    drop: () => void stream.destroy(),
    onceClosed: (listener) => void stream.once('close', listener),
  };
}

function push0(stream: Readable): void {
  if (!stream.destroyed) stream.push(null);
}

function requireEventStream(request: FastifyRequest): void {
  const accept = request.headers.accept ?? '';
  if (accept.includes('text/event-stream')) return;
  throw new HawserError(
    'bad-request',
    `Events come over a WebSocket, or as text/event-stream when the Accept header asks for it; found ${accept === '' ? 'neither an upgrade nor an Accept header' : `accept: ${accept.slice(0, 100)}`}.`,
  );
}
