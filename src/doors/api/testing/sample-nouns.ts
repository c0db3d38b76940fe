import type { Image, StoreRecord, Task, Upload } from '../../../core/nouns.ts';
import type { ApiToken } from '../../../service/control/use-cases.ts';

export const at = new Date('2026-01-02T03:04:05Z');
export const ids = {
  image: '0b0e1f9c-7a54-4f0e-8a9e-1f5c3b1a0001',
  copy: '0b0e1f9c-7a54-4f0e-8a9e-1f5c3b1a0002',
  store: '0b0e1f9c-7a54-4f0e-8a9e-1f5c3b1a0003',
  host: '0b0e1f9c-7a54-4f0e-8a9e-1f5c3b1a0004',
  upload: '0b0e1f9c-7a54-4f0e-8a9e-1f5c3b1a0005',
  task: '0b0e1f9c-7a54-4f0e-8a9e-1f5c3b1a0006',
  absent: '0b0e1f9c-7a54-4f0e-8a9e-1f5c3b1a00ff',
} as const;

export const image: Image = {
  id: ids.image,
  name: 'debian',
  state: 'ready',
  status: '',
  origin: 'upload',
  format: 'raw',
  declaredSize: 4096,
  size: 4096,
  virtualSize: 4096,
  digests: [{ algorithm: 'md5', hex: '620f0b67a91f7f74151bc5be745b7110' }],
  expectedDigest: null,
  copies: [
    {
      id: ids.copy,
      imageId: ids.image,
      storeId: ids.store,
      storeName: 'default',
      key: 'copies/secret-key',
      state: 'ready',
      status: '',
      doneBytes: 4096,
      storedSize: 4096,
      fingerprint: 'secret-fingerprint',
    },
  ],
  uploadId: ids.upload,
  taskId: ids.task,
  owner: 'anna',
  createdAt: at,
  readyAt: at,
};

export const upload: Upload = {
  id: ids.upload,
  imageId: ids.image,
  copyId: ids.copy,
  taskId: ids.task,
  name: 'debian',
  state: 'open',
  status: '',
  generation: 1,
  declaredSize: 4096,
  reserved: 4096,
  receivedBytes: 0,
  zeroBytes: 0,
  format: 'auto',
  expectedDigest: null,
  fingerprint: null,
  storeId: ids.store,
  key: 'copies/secret-key',
  owner: 'anna',
  createdAt: at,
  activeAt: null,
  expiresAt: at,
};

export const task: Task = {
  id: ids.task,
  kind: 'upload',
  state: 'RUNNING',
  status: 'receiving',
  cause: null,
  imageId: ids.image,
  imageName: 'debian',
  uploadId: ids.upload,
  doneBytes: 0,
  totalBytes: 4096,
  rate: 12.5,
  result: null,
  owner: 'anna',
  actions: ['pause', 'cancel'],
  createdAt: at,
  startedAt: at,
  endedAt: null,
};

export const store: StoreRecord = {
  id: ids.store,
  name: 'default',
  driver: 'file',
  hostId: ids.host,
  hostName: 'here',
  state: 'online',
  status: '',
  enabled: true,
  capacity: 1000,
  free: 500,
  reserved: 0,
  seenAt: at,
};

export const apiToken: ApiToken = { id: ids.absent, name: 'ci', createdAt: at, usedAt: null, expiresAt: null };
