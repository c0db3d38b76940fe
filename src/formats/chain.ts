import { HawserError } from '../core/errors.ts';
import type { ImageFormat } from '../core/formats.ts';
import type { ImageExtent, ImageLayer } from '../core/image-chain.ts';
import { inspect } from './inspect.ts';
import { type FormatReader, HEAD_BYTES, type Look, lookAtFile, readAll } from './look.ts';
import { qcow2References } from './qcow2-references.ts';
import { verdictError } from './verdict.ts';
import { isSparsePiece, type VmdkPiece, vmdkPieces } from './vmdk-pieces.ts';

/** A file of an image, open: what is read here is what a tool opens later. */
export interface ChainFile extends FormatReader {
  /** The same for two names of one file. */
  readonly identity: string;
}

export interface ChainRequest<File extends ChainFile> {
  readonly file: File;
  readonly format: ImageFormat;
  /** `refused`: an image that names another file is `format-unsafe`. */
  readonly references: 'refused' | 'allowed';
  /**
   * Opens what a file names: a plain path, relative to the file `from` as it was named. Decides which places
   * may be read, and throws for others.
   */
  readonly open: (name: string, from: File) => Promise<File>;
}

/** Files of one image; each costs a descriptor and a look. */
const MOST_FILES = 128;
const MOST_DEPTH = 32;

/** The formats of backing files as qcow2 headers name them. */
const backingFormats: ReadonlyMap<string, ImageFormat> = new Map([
  ['raw', 'raw'],
  ['qcow2', 'qcow2'],
  ['vmdk', 'vmdk'],
  ['vpc', 'vhd'],
  ['vhdx', 'vhdx'],
  ['vdi', 'vdi'],
]);

/**
 * The image with everything it stands on, each file judged as `inspect` judges one that stands alone. Throws
 * `format-unsafe`, `format-mismatch` when the content is not of the named format, and what `open` throws.
 */
export async function checkChain<File extends ChainFile>(request: ChainRequest<File>): Promise<ImageLayer<File>> {
  const check = new Check(request);
  check.enter(request.file);
  return check.layer(request.file, request.format, 1);
}

class Check<File extends ChainFile> {
  readonly #request: ChainRequest<File>;
  readonly #seen = new Set<string>();

  constructor(request: ChainRequest<File>) {
    this.#request = request;
  }

  async layer(file: File, format: ImageFormat, depth: number): Promise<ImageLayer<File>> {
    if (depth > MOST_DEPTH) throw unsafe(`It stands on more than ${MOST_DEPTH} files. Shorten it: qemu-img commit.`);
    const allowed = this.#request.references === 'allowed';
    if (allowed && format === 'qcow2') return this.#qcow2(file, depth);
    if (allowed && format === 'vmdk' && (await isText(file))) return this.#vmdk(file);
    return plain(file, format, await this.#judged(file, format));
  }

  /** The file counts; each may be there once. */
  enter(file: File): File {
    if (this.#seen.has(file.identity)) throw unsafe('It names one file twice, so that it stands on itself.');
    this.#seen.add(file.identity);
    if (this.#seen.size > MOST_FILES) throw unsafe(`It consists of more than ${MOST_FILES} files.`);
    return file;
  }

  async #qcow2(file: File, depth: number): Promise<ImageLayer<File>> {
    const { backing, dataFile, without } = await look(qcow2References(file), file);
    const top = plain(file, 'qcow2', await this.#judged(without, 'qcow2'));
    const data = dataFile === null ? null : await this.#open(dataFile, file);
    if (backing === null) return { ...top, dataFile: data };
    const format = backingFormats.get(backing.format ?? '');
    if (format === undefined) {
      throw unsafe(
        'It does not say of which format its backing file is, or of none that is taken; guessing would let the content decide. Say it: qemu-img rebase -u -F FORMAT -b BACKING IMAGE.',
      );
    }
    const below = await this.#open(backing.name, file);
    return { ...top, dataFile: data, backing: await this.layer(below, format, depth + 1) };
  }

  async #vmdk(file: File): Promise<ImageLayer<File>> {
    const pieces = await look(vmdkPieces(file.size), file);
    if (typeof pieces === 'string') throw unsafe(pieces);
    const extents: ImageExtent<File>[] = [];
    for (const piece of pieces) extents.push(await this.#extent(piece, file));
    const sectors = extents.reduce((sum, extent) => sum + extent.sectors, 0);
    return { ...plain(file, 'vmdk', sectors * 512), extents };
  }

  async #extent(piece: VmdkPiece, from: File): Promise<ImageExtent<File>> {
    const file = await this.#open(piece.name, from);
    if (piece.kind === 'sparse') {
      if (!(await look(isSparsePiece(file.size), file))) throw unsafe('One of its extents is not what it should be.');
      return { kind: 'sparse', sectors: piece.sectors, file };
    }
    if ((piece.startSector + piece.sectors) * 512 > file.size) throw unsafe('One of its extents is cut off.');
    return { kind: 'flat', sectors: piece.sectors, startSector: piece.startSector, file };
  }

  async #open(name: string, from: File): Promise<File> {
    // As QEMU reads names: what has a colon before any slash is a protocol, not a file.
    if (name === '' || name.includes('\0') || /^[^/]*:/.test(name)) {
      throw unsafe('It names something that is no plain file.');
    }
    return this.enter(await this.#request.open(name, from));
  }

  /** The virtual size. */
  async #judged(reader: FormatReader, declared: ImageFormat): Promise<number> {
    const verdict = await inspect(reader, { declared });
    const error = verdictError(verdict, declared);
    if (error !== undefined) throw error;
    return verdict.kind === 'safe' ? verdict.virtualSize : 0;
  }
}

function plain<File>(file: File, format: ImageFormat, virtualSize: number): ImageLayer<File> {
  return { file, format, virtualSize, backing: null, dataFile: null, extents: null };
}

async function look<T>(at: Look<T>, reader: FormatReader): Promise<T> {
  return lookAtFile(at, reader, await readAll(reader, 0, Math.min(reader.size, HEAD_BYTES)));
}

async function isText(reader: FormatReader): Promise<boolean> {
  const [first = 0] = await readAll(reader, 0, Math.min(reader.size, 1));
  return first === 0x23 || first === 0x76;
}

function unsafe(reason: string): HawserError {
  return new HawserError('format-unsafe', `This image is refused. ${reason}`, { details: { reason } });
}
