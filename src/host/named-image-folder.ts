import { mkdir, readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import type { NamedImage, NamedImageFolder } from '../service/host/named-image-ports.ts';
import { removeFile, writeFileAtomic } from './atomic-file.ts';

const namedImage = z.object({
  name: z.string(),
  imageId: z.string(),
  uploadId: z.uuid(),
  storeId: z.uuid(),
  key: z.string(),
  alone: z.boolean(),
}) satisfies z.ZodType<NamedImage>;

/** `UPLOADID.json` each; one that cannot be read is left where it is and counts as none. */
export async function openNamedImages(folder: string): Promise<NamedImageFolder> {
  await mkdir(folder, { recursive: true, mode: 0o700 });
  const images = new Map<string, NamedImage>();
  for (const file of await readdir(folder)) {
    if (!file.endsWith('.json')) continue;
    const parsed = namedImage.safeParse(JSON.parse(await readFile(join(folder, file), 'utf8')));
    if (parsed.success) images.set(parsed.data.uploadId, parsed.data);
  }
  return {
    all: () => [...images.values()],
    async save(image) {
      await writeFileAtomic(join(folder, `${image.uploadId}.json`), JSON.stringify(image));
      images.set(image.uploadId, image);
    },
    async remove(which) {
      for (const image of [...images.values()]) {
        const meant =
          'uploadId' in which
            ? image.uploadId === which.uploadId
            : image.storeId === which.storeId && image.key === which.key;
        if (!meant) continue;
        await removeFile(join(folder, `${image.uploadId}.json`));
        images.delete(image.uploadId);
      }
    },
  };
}
