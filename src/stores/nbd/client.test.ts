import fc from 'fast-check';
import { describe, expect, onTestFinished, test } from 'vitest';
import { NbdClient, type NbdOptions } from './client.ts';
import { openNbdDevice } from './device.ts';
import {
  chunkReply,
  type FakeExport,
  type FakeRequest,
  fakeServer,
  greeting,
  optionReply,
  type Peer,
  simpleReply,
  u16,
  u32,
  u64,
} from './testing/fake-server.ts';

async function given(play: (peer: Peer) => Promise<void>, options: Partial<NbdOptions> = {}) {
  const server = await fakeServer(play);
  onTestFinished(() => server[Symbol.asyncDispose]());
  const open = () => NbdClient.open({ address: server.address, contexts: ['base:allocation'], ...options });
  return { server, open };
}

/** After a good handshake each request is answered by `answer`. */
async function answering(
  answer: (request: FakeRequest, peer: Peer) => void | Promise<void>,
  { exported, ...options }: Partial<NbdOptions> & { readonly exported?: FakeExport } = {},
) {
  const { server, open } = await given(async (peer) => {
    await peer.shakeHands(exported);
    for (;;) await answer(await peer.request(), peer);
  }, options);
  const client = await open();
  onTestFinished(() => client[Symbol.asyncDispose]());
  return { client, server };
}

const code = (wanted: string) => expect.objectContaining({ name: 'HawserError', code: wanted });
const broken = code('store-failed');
const data = (offset: number, bytes: Uint8Array) => Buffer.concat([u64(offset), bytes]);

describe('replies', () => {
  test('come in any order and in pieces, with holes', async () => {
    const held: FakeRequest[] = [];
    const { client } = await answering((request, peer) => {
      held.push(request);
      if (held.length < 3) return;
      for (const { cookie, offset } of held.reverse()) {
        peer.send(chunkReply(cookie, 1, data(offset + 600, Buffer.alloc(400, offset % 251)), false));
        peer.send(chunkReply(cookie, 2, Buffer.concat([u64(offset), u32(600)])));
      }
    });
    const into = [0, 1, 2].map(() => Buffer.alloc(1000, 0xee));
    await Promise.all(into.map((buffer, i) => client.read(buffer, i * 1000)));
    for (const [i, buffer] of into.entries()) {
      expect(buffer).toEqual(Buffer.concat([Buffer.alloc(600), Buffer.alloc(400, (i * 1000) % 251)]));
    }
  });

  test.each([
    [1, 'forbidden'],
    [5, 'store-failed'],
    [28, 'store-full'],
    [95, 'unsupported'],
    [108, 'unavailable'],
    [4711, 'store-failed'],
  ])('errno %i of the server is %s, simple or in a chunk, and the connection goes on', async (errno, wanted) => {
    let count = 0;
    const { client } = await answering(({ cookie, type }, peer) => {
      if (type === 3) return peer.send(simpleReply(cookie));
      if (count++ === 0) return peer.send(simpleReply(cookie, errno));
      peer.send(chunkReply(cookie, 0x8001, Buffer.concat([u32(errno), u16(5), Buffer.from('/etc!')])));
    });
    await expect(client.write(Buffer.alloc(10), 0)).rejects.toEqual(code(wanted));
    const second = await client.write(Buffer.alloc(10), 0).catch((error: unknown) => error);
    expect(second).toEqual(code(wanted));
    expect(String(second)).not.toContain('/etc');
    await client.flush();
  });

  const reading: readonly [name: string, answer: (request: FakeRequest) => Buffer][] = [
    ['another magic', ({ cookie }) => Buffer.concat([u32(0x12345678), u32(0), cookie])],
    ['a cookie that nobody sent', () => simpleReply(Buffer.from('HWNB9999'))],
    ['a simple reply where chunks were agreed on', ({ cookie }) => simpleReply(cookie)],
    ['fewer bytes than asked for', ({ cookie }) => chunkReply(cookie, 1, data(0, Buffer.alloc(999)))],
    ['more bytes than asked for', ({ cookie }) => chunkReply(cookie, 1, data(0, Buffer.alloc(1001)))],
    ['bytes of another place', ({ cookie }) => chunkReply(cookie, 1, data(1, Buffer.alloc(1000)))],
    [
      'bytes of a place before',
      ({ cookie }) => chunkReply(cookie, 1, Buffer.concat([u64(2n ** 64n - 1n), Buffer.alloc(1000)])),
    ],
    ['no data at all', ({ cookie }) => chunkReply(cookie, 0, Buffer.alloc(0))],
    ['a chunk of data without data', ({ cookie }) => chunkReply(cookie, 1, u64(0))],
    ['an empty hole', ({ cookie }) => chunkReply(cookie, 2, Buffer.concat([u64(0), u32(0)]))],
    ['a hole behind the end', ({ cookie }) => chunkReply(cookie, 2, Buffer.concat([u64(0), u32(1001)]))],
    ['a status as reply to a read', ({ cookie }) => chunkReply(cookie, 5, Buffer.concat([u32(1), u32(1000), u32(0)]))],
    ['an unknown chunk', ({ cookie }) => chunkReply(cookie, 77, Buffer.alloc(4))],
    [
      'an error of 4 GiB',
      ({ cookie }) => Buffer.concat([chunkReply(cookie, 0x8001, Buffer.alloc(0)).subarray(0, 16), u32(0xffffffff)]),
    ],
    ['an error 0', ({ cookie }) => chunkReply(cookie, 0x8001, Buffer.alloc(6))],
    [
      'the same bytes twice',
      ({ cookie }) =>
        Buffer.concat([
          chunkReply(cookie, 1, data(0, Buffer.alloc(600)), false),
          chunkReply(cookie, 1, data(500, Buffer.alloc(500))),
        ]),
    ],
    [
      'a thousand pieces',
      ({ cookie, length }) =>
        Buffer.concat(
          Array.from({ length }, (_, i) => chunkReply(cookie, 1, data(i, Buffer.alloc(1)), i + 1 < length)),
        ),
    ],
  ];
  test.each(reading)('%s: an error for all in flight, and a closed connection', async (_name, answer) => {
    const { client, server } = await answering((request, peer) => {
      if (request.type === 0) peer.send(answer(request));
    });
    const others = [client.flush(), client.write(Buffer.alloc(5), 0)].map((each) =>
      expect(each).rejects.toEqual(broken),
    );
    await expect(client.read(Buffer.alloc(1000), 0)).rejects.toEqual(broken);
    await Promise.all(others);
    await expect(client.flush()).rejects.toEqual(broken);
    await expect.poll(() => server.connections()).toBe(0);
  });

  const statuses: readonly [name: string, data: Buffer][] = [
    ['of another context', Buffer.concat([u32(9), u32(1000), u32(0)])],
    ['with an empty extent', Buffer.concat([u32(1), u32(0), u32(0)])],
    ['with half an extent', Buffer.concat([u32(1), u32(1000), u16(0)])],
    ['without an extent', u32(1)],
  ];
  test.each(statuses)('a status %s', async (_name, chunk) => {
    const { client } = await answering(({ cookie }, peer) => peer.send(chunkReply(cookie, 5, chunk)));
    await expect(client.status({ offset: 0, length: 1000 })).rejects.toEqual(broken);
  });

  test('flags are sent only where the server offered them', async () => {
    const seen: number[] = [];
    const answer = ({ flags, cookie }: FakeRequest, peer: Peer) => {
      seen.push(flags);
      peer.send(simpleReply(cookie));
    };
    const all = (await answering(answer)).client;
    await all.write(Buffer.alloc(1), 0, { fua: true });
    await all.zero({ offset: 0, length: 10 }, { noHole: true, fast: true, fua: true });
    await all.trim({ offset: 0, length: 10 });
    await all.cache({ offset: 0, length: 10 });
    const few = (await answering(answer, { exported: { flags: 0b100_0001 } })).client;
    await few.write(Buffer.alloc(1), 0, { fua: true });
    await few.zero({ offset: 0, length: 10 }, { fast: true, fua: true });
    expect(seen).toEqual([1, 0b10011, 0, 0, 0, 0]);
  });
});

describe('a server that goes or stalls', () => {
  test('in the middle of a reply: connection-lost for all in flight and all that wait', async () => {
    let count = 0;
    const { client } = await answering(
      ({ cookie }, peer) => {
        if (++count < 4) return;
        peer.send(chunkReply(cookie, 1, data(0, Buffer.alloc(1000))).subarray(0, 500));
        peer.socket.end();
      },
      { depth: 4 },
    );
    const all = Array.from({ length: 9 }, () => client.read(Buffer.alloc(1000), 0));
    for (const each of await Promise.allSettled(all)) expect(each).toMatchObject({ reason: code('connection-lost') });
  });

  test('no more requests are on their way than allowed', async () => {
    let most = 0;
    const held: FakeRequest[] = [];
    const { client } = await answering(
      async (request, peer) => {
        held.push(request);
        most = Math.max(most, held.length);
        if (held.length === 3) for (const { cookie } of held.splice(0)) peer.send(simpleReply(cookie));
      },
      { depth: 3 },
    );
    await Promise.all(Array.from({ length: 30 }, () => client.flush()));
    expect(most).toBe(3);
  });

  test('an aborted read is over at once, its late bytes go nowhere, and the others are not disturbed', async () => {
    const held: FakeRequest[] = [];
    let release = () => {};
    const { client } = await answering((request, peer) => {
      held.push(request);
      release = () => {
        for (const { cookie, offset, length } of held)
          peer.send(chunkReply(cookie, 1, data(offset, Buffer.alloc(length, 7))));
      };
      if (held.length === 2) arrived.resolve();
    });
    const arrived = Promise.withResolvers<void>();
    const stop = new AbortController();
    const [gone, kept] = [Buffer.alloc(1000, 1), Buffer.alloc(1000, 1)];
    const first = client.read(gone, 0, stop.signal);
    const second = client.read(kept, 0);
    await arrived.promise;
    stop.abort(new Error('stop'));
    await expect(first).rejects.toThrow('stop');
    release();
    await second;
    expect(kept).toEqual(Buffer.alloc(1000, 7));
    expect(gone).toEqual(Buffer.alloc(1000, 1));
  });

  test('an aborted write is over when the server has answered it; when it never does the connection is given up', async () => {
    const arrived = Promise.withResolvers<() => void>();
    const { client } = await answering(({ cookie }, peer) => arrived.resolve(() => peer.send(simpleReply(cookie))));
    const stop = new AbortController();
    let over = false;
    const write = client.write(Buffer.alloc(10), 0, {}, stop.signal).finally(() => {
      over = true;
    });
    const answer = await arrived.promise;
    stop.abort(new Error('stop'));
    await new Promise((resolve) => setImmediate(resolve));
    expect(over).toBe(false);
    answer();
    await expect(write).rejects.toThrow('stop');

    const mute = (await answering(() => {}, { patience: 50 })).client;
    const late = mute.write(Buffer.alloc(10), 0, {}, AbortSignal.timeout(1));
    const other = mute.flush();
    await expect(late).rejects.toThrow();
    await expect(other).rejects.toEqual(code('connection-lost'));
  });

  test('what is aborted just when its turn comes is never sent, and the next one has its turn', async () => {
    const seen: number[] = [];
    const { client } = await answering(
      ({ type, cookie }, peer) => {
        seen.push(type);
        peer.send(simpleReply(cookie));
      },
      { depth: 1 },
    );
    const stop = new AbortController();
    const write = client.write(Buffer.alloc(10), 0, {}, stop.signal);
    stop.abort(new Error('stop'));
    await expect(write).rejects.toThrow('stop');
    await client.flush();
    expect(seen).toEqual([3]);
  });

  test('a status that ended before the range was asked for again without end', async () => {
    let asked = 0;
    await using server = await fakeServer(async (peer) => {
      await peer.shakeHands({ blocks: [4096, 4096, 2 ** 20] });
      for (;;) {
        const { cookie, type } = await peer.request();
        if (type === 7 && ++asked < 100) peer.send(chunkReply(cookie, 5, Buffer.concat([u32(1), u32(100), u32(0)])));
        else peer.socket.end();
      }
    });
    await using device = await openNbdDevice({ address: server.address });
    await expect(device.extents({ offset: 512, length: 512 })[Symbol.asyncIterator]().next()).rejects.toEqual(broken);
    expect(asked).toBe(1);
  });

  test('closing ends what is under way', async () => {
    const { client } = await answering(() => {});
    const read = client.read(Buffer.alloc(10), 0);
    await Promise.all([expect(read).rejects.toEqual(code('cancelled')), client[Symbol.asyncDispose]()]);
  });
});

describe('the handshake', () => {
  test('with a mute server it ends', async () => {
    const { open, server } = await given(async () => {}, { handshakeLimit: 50 });
    await expect(open()).rejects.toEqual(code('unavailable'));
    await expect.poll(() => server.connections()).toBe(0);
  });

  test('it is aborted by the signal', async () => {
    const { server } = await given(async () => {});
    const opening = NbdClient.open({ address: server.address }, AbortSignal.abort(new Error('stop')));
    await expect(opening).rejects.toThrow('stop');
  });

  const greetings: readonly [
    name: string,
    wanted: string,
    play: (peer: Peer) => Promise<void>,
    options?: Partial<NbdOptions>,
  ][] = [
    ['something else', 'store-failed', async (peer) => peer.send(Buffer.from('SSH-2.0-OpenSSH_9.2p1\r\n'))],
    [
      'the old style',
      'unsupported',
      async (peer) => peer.send(Buffer.from('NBDMAGIC'), u64(0x420281861253n), u64(5), Buffer.alloc(128)),
    ],
    ['a cut greeting', 'connection-lost', async (peer) => void peer.socket.end(greeting.subarray(0, 9))],
    ['no such export', 'not-found', (peer) => upToGo(peer, () => [optionReply(7, 0x8000_0006)])],
    ['TLS that is required', 'unsupported', (peer) => upToGo(peer, () => [optionReply(7, 0x8000_0005)])],
    ['a policy', 'forbidden', (peer) => upToGo(peer, () => [optionReply(7, 0x8000_0002, Buffer.from('no \x1b[31m'))])],
    ['no size', 'store-failed', (peer) => upToGo(peer, () => [optionReply(7, 1)])],
    [
      'a size beyond numbers',
      'too-large',
      (peer) =>
        upToGo(peer, () => [optionReply(7, 3, Buffer.concat([u16(0), u64(2n ** 63n), u16(1)])), optionReply(7, 1)]),
    ],
    [
      'impossible blocks',
      'store-failed',
      (peer) =>
        upToGo(peer, () => [optionReply(7, 3, Buffer.concat([u16(3), u32(3), u32(4096), u32(1)])), optionReply(7, 1)]),
    ],
    [
      'a second reply that shall be taken for one behind TLS',
      'store-failed',
      async (peer) => {
        peer.send(greeting);
        await peer.take(20);
        peer.send(optionReply(5, 1), optionReply(8, 1));
      },
      { tls: { ca: '' } },
    ],
    ['a reply to another option', 'store-failed', (peer) => upToGo(peer, () => [optionReply(8, 1)])],
    [
      'a reply of 4 GiB',
      'store-failed',
      (peer) => upToGo(peer, () => [Buffer.concat([optionReply(7, 3).subarray(0, 16), u32(0xffffffff)])]),
    ],
    [
      'replies without end',
      'store-failed',
      (peer) => upToGo(peer, () => Array.from({ length: 300 }, () => optionReply(7, 3, u16(9)))),
    ],
  ];
  test.each(greetings)('%s is %s', async (_name, wanted, play, options) => {
    const { open, server } = await given(play, options);
    const error = await open().catch((found: unknown) => found);
    expect(error).toEqual(code(wanted));
    expect(String(error)).not.toContain('\x1b');
    await expect.poll(() => server.connections()).toBe(0);
  });
});

describe('whatever a server sends', () => {
  test('instead of a handshake: an error, no hang', async () => {
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ maxLength: 300 }), fc.nat(40), async (noise, keep) => {
        await using server = await fakeServer(async (peer) => {
          peer.send(greeting.subarray(0, keep), noise);
          peer.socket.end();
        });
        await expect(NbdClient.open({ address: server.address })).rejects.toMatchObject({ name: 'HawserError' });
      }),
      { numRuns: 60 },
    );
  });

  test('instead of replies: all calls settle with bytes that were sent for them or an error', async () => {
    const wild = fc.record({
      chunked: fc.boolean(),
      type: fc.constantFrom(0, 1, 2, 5, 0x8001, 0x8002, 77),
      done: fc.boolean(),
      cookie: fc.nat(5),
      body: fc.oneof(
        fc.uint8Array({ maxLength: 40 }),
        fc.nat(12).map((at) => data(at, Buffer.alloc(20 - at, 5))),
      ),
    });
    await fc.assert(
      fc.asyncProperty(fc.array(wild, { maxLength: 8 }), fc.uint8Array({ maxLength: 30 }), async (replies, noise) => {
        await using server = await fakeServer(async (peer) => {
          await peer.shakeHands();
          for (let i = 0; i < 4; i++) await peer.request();
          for (const { chunked, type, done, cookie, body } of replies) {
            const whose = Buffer.concat([u32(0x48574e42), u32(cookie)]);
            peer.send(chunked ? chunkReply(whose, type, body, done) : simpleReply(whose, type % 3));
          }
          peer.send(noise);
          peer.socket.end();
        });
        await using client = await NbdClient.open({ address: server.address, contexts: ['base:allocation'] });
        const calls = [
          client.read(Buffer.alloc(20), 0),
          client.status({ offset: 0, length: 512 }),
          client.write(Buffer.alloc(8), 0),
          client.read(Buffer.alloc(20), 0),
        ];
        for (const call of await Promise.allSettled(calls)) {
          if (call.status === 'rejected') expect(call.reason).toMatchObject({ name: 'HawserError' });
        }
      }),
      { numRuns: 150 },
    );
  });
});

async function upToGo(peer: Peer, replies: () => readonly Buffer[]): Promise<void> {
  peer.send(greeting);
  await peer.take(4);
  for (;;) {
    const head = await peer.take(16);
    await peer.take(head.readUInt32BE(12));
    const option = head.readUInt32BE(8);
    if (option === 7) return peer.send(...replies());
    peer.send(optionReply(option, 0x8000_0001));
  }
}
