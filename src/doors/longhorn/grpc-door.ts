import {
  type handleServerStreamingCall,
  type handleUnaryCall,
  Server,
  ServerCredentials,
  type ServerUnaryCall,
  type UntypedServiceImplementation,
} from '@grpc/grpc-js';
import { HawserError, isHawserError } from '../../core/errors.ts';
import type { NamedImages } from '../../service/host/named-images.ts';
import { holderOf } from '../../tls/host-check.ts';
import { RenewedCredentials } from './grpc-credentials.ts';
import { grpcFailure } from './grpc-errors.ts';
import {
  type BackingImageResponse,
  type BackingImageSpec,
  type NameRequest,
  responseOf,
  type SendRequest,
  type SpecRequest,
  type SyncRequest,
} from './grpc-messages.ts';
import type { BackingImageSender } from './grpc-send.ts';
import { backingImageManagerService } from './grpc-service.ts';
import type { UploadServerTls } from './upload-server.ts';

export interface GrpcSettings {
  readonly images: NamedImages;
  readonly sender: BackingImageSender;
  /** `host:port`; port 0 takes a free one. */
  readonly address: string;
  /** Looked at again when it is `renewed`. Undefined: everybody may call, without TLS. */
  readonly tls: () => UploadServerTls | undefined;
  readonly version: string;
  readonly log: { warn(fields: Readonly<Record<string, unknown>>): void };
}

export interface GrpcDoor {
  readonly port: number;
  /** Connections from now on are shown the certificate that `tls` gives now. */
  readonly renewed: () => void;
  close(): Promise<void>;
}

/** The versions that the seed's calls are of. */
const API_VERSION = 2;

/** The original's gRPC calls on this agent. */
export async function openGrpcDoor(settings: GrpcSettings): Promise<GrpcDoor> {
  const server = new Server();
  const stopping = new AbortController();
  server.addService(backingImageManagerService().service, {
    ...callsOf(settings),
    Watch: watchOf(settings, stopping.signal),
  });
  const tls = settings.tls();
  const own = tls && new RenewedCredentials(tls);
  const port = await bind(server, settings.address, own ?? ServerCredentials.createInsecure());
  return {
    port,
    renewed: () => {
      const now = settings.tls();
      if (now !== undefined) own?.renew(now);
    },
    async close() {
      stopping.abort();
      settings.sender.stop();
      const ended = new Promise<void>((resolve) => server.tryShutdown(() => resolve()));
      const cut = setTimeout(() => server.forceShutdown(), 2000);
      await ended;
      clearTimeout(cut);
    },
  };
}

function callsOf(settings: GrpcSettings): UntypedServiceImplementation {
  const { images, sender, version } = settings;
  const unary = unaryWith(settings);
  const answer = async (name: string) => responseOf(await images.get(name), sender.stateOf(name));
  return {
    Pull: unary(() => Promise.reject(notHere())),
    Sync: unary(async ({ backing_image_spec: spec, from_host: from, to_host: to }: SyncRequest) => {
      const { name, uuid, size, directory } = specOf(spec);
      if (from === '' || to === '') throw missing('from_host and to_host');
      if (size <= 0) throw missing('the size');
      const view = await images.launch({ name, imageId: uuid, size, store: storeOf(directory) });
      if (view.uploadPort !== 0) await sender.ask(name, from, `${to}:${view.uploadPort}`);
      return answer(name);
    }),
    Send: unary(async ({ name, to_address: to }: SendRequest) => {
      if (name === '' || to === '') throw missing('name and to_address');
      sender.send(await images.get(name), to);
      return {};
    }),
    Delete: unary(async ({ name }: NameRequest) => {
      if (name === '') throw missing('the name');
      await images.remove(name);
      return {};
    }),
    Get: unary(async ({ name }: NameRequest) => {
      if (name === '') throw missing('the name');
      return answer(name);
    }),
    List: unary(async () => {
      const found: Record<string, BackingImageResponse> = {};
      for (const view of await images.list()) found[view.name] = responseOf(view, sender.stateOf(view.name));
      return { backing_images: found };
    }),
    UploadServerLaunch: unary(async ({ spec }: SpecRequest) => {
      const { name, uuid, size, directory } = specOf(spec);
      await images.launch({ name, imageId: uuid, size: size > 0 ? size : null, store: storeOf(directory) });
      return answer(name);
    }),
    VersionGet: unary(async () => ({
      version,
      gitCommit: '',
      buildDate: '',
      backing_image_manager_api_version: API_VERSION,
      backing_image_manager_api_min_version: API_VERSION,
    })),
  };
}

function unaryWith({ tls, log }: GrpcSettings) {
  return <Request, Response>(act: (request: Request) => Promise<Response>): handleUnaryCall<Request, Response> =>
    (call, callback) => {
      Promise.resolve()
        .then(() => mustBeAllowed(call, tls()))
        .then(() => act(call.request))
        .then(
          (response) => callback(null, response),
          (error: unknown) => {
            if (!isHawserError(error)) log.warn({ event: 'grpc.fault', path: call.getPath(), err: error });
            callback(grpcFailure(error));
          },
        );
    };
}

/** Who may call: those who may send to upload servers. */
async function mustBeAllowed(
  call: Pick<ServerUnaryCall<unknown, unknown>, 'getAuthContext'>,
  tls: UploadServerTls | undefined,
): Promise<void> {
  if (tls === undefined) return;
  const shown = call.getAuthContext().sslPeerCertificate;
  if (shown !== undefined && (await tls.mayConnect(holderOf(shown)))) return;
  throw new HawserError('forbidden', 'This certificate is not one of control, nor of a host that is here now.');
}

function watchOf({ images, tls }: GrpcSettings, stopping: AbortSignal): handleServerStreamingCall<unknown, unknown> {
  return (call) => {
    const gone = new AbortController();
    const stop = () => call.end();
    call.on('cancelled', () => {
      stopping.removeEventListener('abort', stop);
      gone.abort();
    });
    stopping.addEventListener('abort', stop, { once: true });
    const signal = AbortSignal.any([gone.signal, stopping]);
    mustBeAllowed(call, tls()).then(
      () => images.watch(() => void (signal.aborted || call.write({})), signal),
      (error: unknown) => call.emit('error', grpcFailure(error)),
    );
  };
}

function bind(server: Server, address: string, credentials: ServerCredentials): Promise<number> {
  return new Promise((resolve, reject) => {
    server.bindAsync(address, credentials, (cause, port) => {
      if (cause === null) return resolve(port);
      reject(
        new HawserError(
          'in-use',
          `The gRPC calls cannot be answered at ${address} (longhorn.grpcListen). Give an address of this machine that is free.`,
          { cause },
        ),
      );
    });
  });
}

function specOf(spec: BackingImageSpec | null): BackingImageSpec {
  if (spec === null || spec.name === '' || spec.uuid === '') throw missing('name and uuid');
  return spec;
}

/** A directory of the original is a disk; here it may be the name of a Store. */
function storeOf(directory: string): string | undefined {
  return directory === '' ? undefined : directory;
}

function missing(what: string): HawserError {
  return new HawserError('bad-request', `The request lacks ${what}.`);
}

function notHere(): HawserError {
  return new HawserError('unsupported', 'An agent fetches from a URL when control tells it to; ask control.');
}
