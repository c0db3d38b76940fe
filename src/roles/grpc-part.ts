import type { Config } from '../config/schema.ts';
import { openGrpcDoor } from '../doors/longhorn/grpc-door.ts';
import { BackingImageSender } from '../doors/longhorn/grpc-send.ts';
import type { UploadServerTls } from '../doors/longhorn/upload-server.ts';
import type { HostAgent } from '../service/host/host-agent.ts';
import type { NamedImageFolder } from '../service/host/named-image-ports.ts';
import { NamedImages } from '../service/host/named-images.ts';
import type { HostLog } from '../service/host/ports.ts';

export interface GrpcParts {
  readonly config: Config;
  readonly agent: HostAgent;
  readonly named: NamedImageFolder;
  /** Looked at for each connection that we make, and when it is `renewed`. */
  readonly tls: () => UploadServerTls | undefined;
  readonly version: string;
  readonly log: HostLog;
}

export interface GrpcPart {
  /** `host:port`. */
  readonly address: string;
  /** There is a new certificate. */
  renewed(): void;
  close(): Promise<void>;
}

/** The original's gRPC calls, where the configuration wants them. */
export async function startGrpc(parts: GrpcParts): Promise<GrpcPart | undefined> {
  const { config, agent, named, tls, version, log } = parts;
  const address = config.longhorn.grpcListen;
  if (address === '') return undefined;
  let port = 0;
  const sender = new BackingImageSender({ plane: agent.plane, tls, port: () => port, log });
  const images = new NamedImages(agent, named);
  const door = await openGrpcDoor({ images, sender, address, tls, version, log });
  port = door.port;
  return { address: address.replace(/\d+$/, String(port)), renewed: door.renewed, close: door.close };
}
