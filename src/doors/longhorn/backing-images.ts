import type { Digest } from '../../core/digest.ts';
import { HawserError, isHawserError } from '../../core/errors.ts';
import type { Actor, Image, Placement, Upload } from '../../core/nouns.ts';
import type { NameLocks } from '../../service/control/ports.ts';
import type { UploadServerUseCases } from '../../service/control/upload-servers.ts';
import type { CopyUseCases, ImageUseCases, UploadUseCases } from '../../service/control/use-cases.ts';
import { backingImage } from './backing-image.ts';

/** What this door asks of control. */
export interface BackingImageUseCases {
  readonly images: ImageUseCases;
  readonly uploads: UploadUseCases;
  readonly uploadServers: UploadServerUseCases;
  readonly copies: CopyUseCases;
}

export interface CreateBackingImage {
  readonly name: string;
  readonly sourceType: string;
  readonly parameters: Readonly<Record<string, string>>;
  readonly digest: Digest | undefined;
  readonly placement: Partial<Placement>;
}

/** An Image as it was asked for: by its name, or by its id. */
export interface Found {
  readonly image: Image;
  readonly id: string;
}

const PAGE = 500;
const UUID = /^[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}$/;

/** Images as backing images: by name, which is unique at this door. */
export class BackingImages {
  readonly use: BackingImageUseCases;
  readonly #names: NameLocks;

  constructor(use: BackingImageUseCases, names: NameLocks) {
    this.use = use;
    this.#names = names;
  }

  async list(actor: Actor, base: string) {
    const found: Image[] = [];
    for (let cursor: string | undefined; ; ) {
      const page = await this.use.images.list(actor, { limit: PAGE, cursor });
      found.push(...page.items);
      if (page.next === null) break;
      cursor = page.next;
    }
    const times = new Map<string, number>();
    for (const { name } of found) times.set(name, (times.get(name) ?? 0) + 1);
    const addresses = await this.use.uploadServers.addresses(found.flatMap(({ uploadId }) => uploadId ?? []));
    return Promise.all(
      found.map(async (image) =>
        backingImage(base, {
          image,
          upload: await this.#fillingOf(actor, image),
          uploadAddress: addresses.get(image.uploadId ?? '') ?? '',
          id: times.get(image.name) === 1 ? image.name : image.id,
        }),
      ),
    );
  }

  async show(actor: Actor, name: string, base: string) {
    return this.resource(actor, await this.find(actor, name), base);
  }

  async resource(actor: Actor, { image, id }: Found, base: string) {
    const upload = await this.#fillingOf(actor, image);
    const addresses = await this.use.uploadServers.addresses(upload === undefined ? [] : [upload.id]);
    return backingImage(base, { image, upload, uploadAddress: addresses.get(upload?.id ?? '') ?? '', id });
  }

  /** Throws `name-ambiguous` when several Images have this name; each is found by its id. */
  async find(actor: Actor, name: string): Promise<Found> {
    const { items } = await this.use.images.list(actor, { name, limit: 10 });
    const [image] = items;
    if (items.length > 1) {
      throw new HawserError(
        'name-ambiguous',
        `${items.length} images are called "${name}". Here names are unique: use one of the ids ${items.map(({ id }) => id).join(', ')} in its place, or rename them.`,
      );
    }
    if (image !== undefined) return { image, id: name };
    if (UUID.test(name)) return { image: await this.use.images.get(actor, name), id: name };
    throw new HawserError('not-found', `There is no backing image "${name}"; see the list of them.`);
  }

  async remove(actor: Actor, name: string): Promise<void> {
    const { image } = await this.find(actor, name);
    await this.use.images.remove(actor, image.id);
  }

  async create(actor: Actor, request: CreateBackingImage, base: string) {
    const id = await this.#names.alone(request.name, () => this.#create(actor, request));
    return this.resource(actor, { image: await this.use.images.get(actor, id), id: request.name }, base);
  }

  /** The Upload that fills it; of a failed Image a new one is begun. */
  async begun(actor: Actor, { image, id }: Found, size: number): Promise<Upload> {
    if (image.origin !== 'upload' || image.state !== 'failed') return this.filling(actor, { image, id });
    const { name, format, expectedDigest } = image;
    return this.use.uploads.begin(actor, {
      name,
      format,
      imageId: image.id,
      size,
      digest: expectedDigest ?? undefined,
    });
  }

  /** The Upload that fills it, or did. Throws `conflict` when it failed. */
  async filling(actor: Actor, { image }: Found): Promise<Upload> {
    if (image.origin !== 'upload') {
      throw new HawserError(
        'conflict',
        `The backing image "${image.name}" is of type ${image.origin}: the hosts fetch it by themselves.`,
      );
    }
    if (image.state === 'failed' || image.uploadId === null) {
      throw new HawserError(
        'conflict',
        `The upload of "${image.name}" failed (${image.status}). Begin it again with uploadServerStart.`,
      );
    }
    return this.use.uploads.get(actor, image.uploadId);
  }

  async #create(actor: Actor, request: CreateBackingImage): Promise<string> {
    const { items } = await this.use.images.list(actor, { name: request.name, limit: 1 });
    if (items.length > 0) {
      throw new HawserError('already-exists', `A backing image "${request.name}" exists. Choose another name.`);
    }
    const { name, digest, placement } = request;
    const common = { name, digest, placement, format: 'auto' } as const;
    switch (request.sourceType) {
      case 'upload': {
        const upload = await this.use.uploads.begin(actor, common);
        await this.#launch(actor, upload.id);
        return upload.imageId;
      }
      case 'download': {
        const url = parameter(request, 'url');
        const source = { kind: 'url', url, decompress: 'none' } as const;
        return (await this.use.copies.create(actor, { ...common, source })).id;
      }
      case 'clone': {
        const encryption = request.parameters.encryption ?? 'ignore';
        if (encryption !== 'ignore') throw refused(`clone with encryption "${encryption}"`);
        const { image } = await this.find(actor, parameter(request, 'backing-image'));
        const source = { kind: 'copy', imageId: image.id } as const;
        return (await this.use.copies.create(actor, { ...common, source })).id;
      }
      case 'export-from-volume':
      case 'restore':
        throw refused(request.sourceType);
      default:
        throw new HawserError(
          'bad-request',
          `sourceType is one of upload, download, clone; found "${request.sourceType.slice(0, 50)}".`,
        );
    }
  }

  /** One that cannot be launched now (no port is free) is launched by the first call for it. */
  async #launch(actor: Actor, uploadId: string): Promise<void> {
    try {
      await this.use.uploadServers.launch(actor, uploadId);
    } catch (error) {
      if (!isHawserError(error, 'unavailable')) throw error;
    }
  }

  async #fillingOf(actor: Actor, image: Image): Promise<Upload | undefined> {
    const filling = image.state === 'pending' || image.state === 'in-progress';
    return filling && image.uploadId !== null ? this.use.uploads.get(actor, image.uploadId) : undefined;
  }
}

function parameter({ parameters, sourceType }: CreateBackingImage, name: string): string {
  const value = parameters[name];
  if (value !== undefined && value !== '') return value;
  throw new HawserError('bad-request', `A backing image of type ${sourceType} needs the parameter "${name}".`);
}

function refused(what: string): HawserError {
  return new HawserError(
    'unsupported',
    `Backing images of type ${what} cannot be made yet. Upload the file, or give the URL of one (download).`,
  );
}
