import type { Config } from '../config/schema.ts';
import { openUploadServer, type UploadServerTls } from '../doors/longhorn/upload-server.ts';
import { openChunkLogs } from '../host/chunk-logs.ts';
import type { UploadServerMeans } from '../service/host/upload-servers.ts';
import type { CertificateHolder } from '../tls/host-check.ts';
import { listenAddress } from './listeners.ts';

export interface UploadServerPlaces {
  readonly config: Config;
  /** The folder of chunk logs. */
  readonly folder: string;
  /** Looked at for each connection; undefined: they speak plain HTTP with everybody. */
  readonly tls: () => UploadServerTls | undefined;
  readonly dataUrls: () => readonly string[];
  readonly log: { warn(fields: Readonly<Record<string, unknown>>): void };
}

/** Upload servers listen at the address of the data listener, and are reached by the name that it is reached by. */
export async function uploadServerMeans(places: UploadServerPlaces): Promise<UploadServerMeans> {
  const { config, folder, tls, dataUrls, log } = places;
  const { host } = listenAddress(config.dataListen);
  return {
    logs: await openChunkLogs(folder),
    listeners: {
      ports: portsOf(config.longhorn.uploadPorts),
      address: () => {
        const [url] = dataUrls();
        return url === undefined ? host : new URL(url).hostname.replace(/^\[|\]$/g, '');
      },
      listen: (wire, port) => openUploadServer(wire, { host, port, tls, log }),
    },
  };
}

/** `7900-7999`, or 0 for any free one. */
function portsOf(text: string): readonly number[] {
  const [first = 0, last = first] = text.split('-').map(Number);
  return Array.from({ length: Math.max(1, last - first + 1) }, (_, index) => first + index);
}

/** What an agent shows, and whom it lets in: control. `knows`: whether another agent's certificate still counts. */
export function uploadServerTls(
  config: Config,
  keys: { readonly key: string; readonly cert: string; readonly authority: string },
  knows: (agent: CertificateHolder) => Promise<boolean>,
): UploadServerTls | undefined {
  if (config.longhorn.openUploadServers === 'on') return undefined;
  // With gRPC other agents send what they were asked for.
  const peers = config.longhorn.grpcListen !== '';
  const mayConnect = (holder: CertificateHolder) =>
    holder.unit === 'control' || (peers && holder.unit === 'agent' && knows(holder));
  return { key: keys.key, cert: keys.cert, ca: keys.authority, mayConnect };
}
