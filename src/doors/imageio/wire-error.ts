/** An answer that is not the wanted one, in the words of the wire. */
export class WireError extends Error {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  /** The connection ends with the answer. */
  readonly close: boolean;

  constructor(
    status: number,
    message: string,
    more: { readonly headers?: Readonly<Record<string, string>>; readonly close?: boolean } = {},
  ) {
    super(message);
    this.name = 'WireError';
    this.status = status;
    this.headers = more.headers ?? {};
    this.close = more.close ?? false;
  }
}

export function badRequest(message: string): WireError {
  return new WireError(400, message);
}

/** 416 with what there is, where that is known. */
export function notSatisfiable(message: string, available?: bigint | number): WireError {
  const headers = available === undefined ? undefined : { 'content-range': `bytes */${available}` };
  return new WireError(416, message, headers === undefined ? {} : { headers });
}
