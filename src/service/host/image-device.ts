import { HawserError, isHawserError } from '../../core/errors.ts';
import type { ImageFormat } from '../../core/formats.ts';
import type { ImageLayer } from '../../core/image-chain.ts';
import type { Range } from '../../core/range.ts';
import { type ChainFile, checkChain } from '../../formats/chain.ts';
import type { Device } from '../../stores/device.ts';

/** An image's file, open until it is disposed of. */
export interface ImageFileHandle extends ChainFile, AsyncDisposable {}

/** A running server of an image's content. */
export interface ImageServer extends AsyncDisposable {
  readonly socketPath: string;
  /** Resolves with its last words when it ended without being asked to. */
  readonly died: Promise<HawserError>;
}

export interface ServeHow {
  readonly writable: boolean;
  readonly bitmap?: string | undefined;
}

/** What opening an image by its format needs of this machine. */
export interface ImageTools<File extends ImageFileHandle> {
  /** Opens what `from` names; decides which places may be read. */
  readonly openBeside: (from: File, name: string) => Promise<File>;
  /** The files stay open until the server is disposed of. */
  readonly serve: (image: ImageLayer<File>, how: ServeHow, signal?: AbortSignal) => Promise<ImageServer>;
  readonly connect: (
    server: ImageServer,
    how: ServeHow & { readonly size: number },
    signal?: AbortSignal,
  ) => Promise<Device>;
}

export interface OpenImageRequest<File extends ImageFileHandle> {
  /** Belongs to the Device from now on, also when this throws. */
  readonly file: File;
  /** What the file is; the content must agree. */
  readonly format: ImageFormat;
  readonly writable: boolean;
  /** Whether it may stand on other files: a backing chain, a data file, the extents of a VMDK. */
  readonly references: 'refused' | 'allowed';
  /** Name of a dirty bitmap of it. */
  readonly bitmap?: string | undefined;
}

/**
 * The content of an image as its guest sees it. The format check comes first, and what the server then opens are
 * the very files that were checked; it runs as long as the Device. Throws `format-unsafe`, `format-mismatch`,
 * `forbidden`, `not-found`, `unsupported`, `in-use`, `store-failed`.
 */
export async function openImageDevice<File extends ImageFileHandle>(
  tools: ImageTools<File>,
  request: OpenImageRequest<File>,
  signal?: AbortSignal,
): Promise<Device> {
  await using undo = new AsyncDisposableStack();
  const { format, references, writable, bitmap } = request;
  const file = undo.use(request.file);
  const open = async (name: string, from: File) => undo.use(await tools.openBeside(from, name));
  const image = await checkChain({ file, format, references, open });
  const server = undo.use(await tools.serve(image, { writable, bitmap }, signal));
  const size = image.virtualSize;
  const device = undo.use(await tools.connect(server, { writable, bitmap, size }, signal));
  return new ImageDevice(device, server, undo.move());
}

/** A Device that says why its server is gone. */
class ImageDevice implements Device {
  readonly size;
  readonly writable;
  readonly traits;
  readonly dirty;
  readonly #inner: Device;
  readonly #all: AsyncDisposable;
  #lastWords: HawserError | undefined;

  constructor(inner: Device, server: ImageServer, all: AsyncDisposable) {
    this.#inner = inner;
    this.#all = all;
    this.size = inner.size;
    this.writable = inner.writable;
    this.traits = inner.traits;
    this.dirty = inner.dirty;
    void server.died.then((words) => {
      this.#lastWords = words;
    });
  }

  read(into: Buffer, offset: number, signal?: AbortSignal): Promise<void> {
    return this.#explained(this.#inner.read(into, offset, signal));
  }

  write(from: Buffer, offset: number, signal?: AbortSignal): Promise<void> {
    return this.#explained(this.#inner.write(from, offset, signal));
  }

  zero(range: Range, signal?: AbortSignal): Promise<void> {
    return this.#explained(this.#inner.zero(range, signal));
  }

  flush(signal?: AbortSignal): Promise<void> {
    return this.#explained(this.#inner.flush(signal));
  }

  extents(range: Range, signal?: AbortSignal) {
    return this.#inner.extents(range, signal);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return Promise.resolve(this.#all[Symbol.asyncDispose]());
  }

  async #explained(work: Promise<void>): Promise<void> {
    try {
      await work;
    } catch (cause) {
      if (this.#lastWords === undefined || !isHawserError(cause, 'connection-lost')) throw cause;
      throw new HawserError('connection-lost', this.#lastWords.message, { cause });
    }
  }
}
