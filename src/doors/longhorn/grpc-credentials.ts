import { ServerCredentials } from '@grpc/grpc-js';

/** PEM; who may call is of this authority. */
export interface GrpcTls {
  readonly key: string;
  readonly cert: string;
  readonly ca: string;
}

/** As `createSsl` makes them, and new ones can take their place: grpc-js has that for its providers only. */
export class RenewedCredentials extends ServerCredentials {
  constructor(tls: GrpcTls) {
    super({ requestCert: true, rejectUnauthorized: true }, contextOf(tls));
  }

  renew(tls: GrpcTls): void {
    this.updateSecureContextOptions(contextOf(tls));
  }

  override _equals(other: ServerCredentials): boolean {
    return this === other;
  }
}

function contextOf({ key, cert, ca }: GrpcTls) {
  return { key: [Buffer.from(key)], cert: [Buffer.from(cert)], ca: Buffer.from(ca) };
}
