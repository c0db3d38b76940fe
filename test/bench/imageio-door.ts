import { link, rm, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { call } from '../wire/imageio-stage.ts';
import { type CurlRequest, curlAll } from './curl.ts';
import { rangesOf } from './hawser-side.ts';
import type { Part, Put, Side } from './side.ts';

/** Where clients of the door connect to. */
export interface DoorAddress {
  readonly base: string;
  /** Of the unix socket. */
  readonly socket?: string;
}

export interface TicketWish {
  readonly size: number;
  readonly url: string;
  readonly ops: 'read' | 'write';
}

/** The imageio door of a running server, and images in a folder that its tickets may open. */
export class Door {
  readonly folder: string;
  readonly pid: number;
  #count = 0;

  constructor(folder: string, pid: number) {
    this.folder = folder;
    this.pid = pid;
  }

  /** A path that nothing has yet. */
  path(): string {
    return join(this.folder, `image-${this.#count++}`);
  }

  /** Its id. */
  async ticket({ size, url, ops }: TicketWish): Promise<string> {
    const id = `bench-${this.#count++}`;
    const ticket = { uuid: id, size, url, ops: [ops], timeout: 3600, sparse: true };
    const to = join(this.folder, 'control.sock');
    const answer = await call({ to, method: 'PUT', path: `/tickets/${id}`, body: JSON.stringify(ticket) });
    if (answer.status !== 200) throw new Error(answer.text);
    return id;
  }

  async end(id: string): Promise<void> {
    await call({ to: join(this.folder, 'control.sock'), method: 'DELETE', path: `/tickets/${id}` });
  }

  /** Images as files, in turn with a server of files. */
  side(at: DoorAddress, flush: 'y' | 'n' = 'n'): Side {
    let kept = '';
    return {
      name: 'hawser',
      pid: this.pid,
      put: async (parts, size): Promise<Put> => {
        const path = this.path();
        await writeFile(path, '');
        await truncate(path, size);
        const id = await this.ticket({ size, url: `file://${path}`, ops: 'write' });
        const remove = async () => {
          await this.end(id);
          await rm(path);
        };
        return { send: () => putParts(at, id, { parts, flush }), remove };
      },
      store: async (file, size) => {
        const path = this.path();
        await link(file, path);
        kept = await this.ticket({ size, url: `file://${path}`, ops: 'read' });
      },
      get: (streams, size) => getStreams(at, kept, { streams, size }),
      [Symbol.asyncDispose]: async () => {},
    };
  }
}

/** The parts at the same time, each by a curl of its own. */
export function putParts(
  { base, socket }: DoorAddress,
  id: string,
  { parts, flush }: { readonly parts: readonly Part[]; readonly flush: 'y' | 'n' },
): Promise<void> {
  const requests = parts.map(
    ({ file, offset }): CurlRequest => ({
      ...(socket === undefined ? {} : { socket }),
      url: `${base}/images/${id}?flush=${flush}`,
      file,
      headers: [`Content-Range: bytes ${offset}-*/*`],
    }),
  );
  return curlAll(requests);
}

export function getStreams(
  { base, socket }: DoorAddress,
  id: string,
  { streams, size }: { readonly streams: number; readonly size: number },
): Promise<void> {
  const where = socket === undefined ? {} : { socket };
  return curlAll(rangesOf(streams, size).map((range) => ({ ...where, url: `${base}/images/${id}`, ...range })));
}
