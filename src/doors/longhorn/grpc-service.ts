import { fileURLToPath } from 'node:url';
import { loadPackageDefinition, type ServiceClientConstructor } from '@grpc/grpc-js';
import { loadSync } from '@grpc/proto-loader';
import { HawserError } from '../../core/errors.ts';

const options = { keepCase: true, longs: Number, enums: String, defaults: true, oneofs: false } as const;

/** What the calls are, for servers and clients. */
export function backingImageManagerService(): ServiceClientConstructor {
  const file = fileURLToPath(new URL('./backing-image-manager.proto', import.meta.url));
  const found = loadPackageDefinition(loadSync(file, options)).BackingImageManagerService;
  if (typeof found !== 'function') throw new HawserError('internal', 'The text of the gRPC service is not whole.');
  return found as ServiceClientConstructor;
}
