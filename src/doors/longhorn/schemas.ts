import { chunkActions } from './backing-image.ts';

const text = { type: 'string', create: true, nullable: true };
const given = { type: 'string', create: true, required: true };
const shown = { type: 'string', nullable: true };
const count = { type: 'int', nullable: true };

/** `/v1/schemas`: what a Rancher client must know of backing images. */
export function schemas(base: string) {
  const self = (id: string) => `${base}/v1/schemas/${id}`;
  return {
    type: 'collection',
    resourceType: 'schema',
    links: { self: `${base}/v1/schemas` },
    actions: {},
    data: [
      {
        id: 'backingImage',
        type: 'schema',
        pluralName: 'backingImages',
        links: { self: self('backingImage'), collection: `${base}/v1/backingimages` },
        actions: {},
        resourceMethods: ['GET', 'DELETE'],
        collectionMethods: ['GET', 'POST'],
        resourceActions: Object.fromEntries(
          [...chunkActions, 'upload', 'backingImageCleanup', 'updateMinNumberOfCopies'].map((name) => [
            name,
            { output: 'backingImage' },
          ]),
        ),
        resourceFields: {
          name: given,
          sourceType: given,
          parameters: { type: 'map[string]', create: true, required: true },
          expectedChecksum: text,
          minNumberOfCopies: { ...count, create: true },
          nodeSelector: { type: 'array[string]', create: true, nullable: true },
          diskSelector: { type: 'array[string]', create: true, nullable: true },
          dataEngine: text,
          uuid: shown,
          size: count,
          virtualSize: count,
          currentChecksum: shown,
          uploadAddress: shown,
          diskFileStatusMap: { type: 'map[backingImageDiskFileStatus]' },
          diskFileStateMap: { type: 'map[string]' },
          diskFileHandlingProgressMap: { type: 'map[int]' },
        },
      },
    ],
  };
}
