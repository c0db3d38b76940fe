import { request as httpRequest, type RequestOptions } from 'node:http';
import { request as httpsRequest } from 'node:https';

/** Calls of the native API; any certificate is taken, the bench makes its own. */
export class BenchApi {
  readonly #base: string;
  readonly #token: string;

  constructor(base: string, token: string) {
    this.#base = base;
    this.#token = token;
  }

  get base(): string {
    return this.#base;
  }

  get token(): string {
    return this.#token;
  }

  /** The JSON of the answer. Throws when it is no success. */
  call<T>(method: string, path: string, body?: unknown): Promise<T> {
    const url = new URL(`${this.#base}/api/v1${path}`);
    const options: RequestOptions & { rejectUnauthorized: boolean } = {
      method,
      headers: {
        authorization: `Bearer ${this.#token}`,
        ...(body === undefined ? {} : { 'content-type': 'application/json' }),
      },
      rejectUnauthorized: false,
    };
    return new Promise((resolve, reject) => {
      const request = (url.protocol === 'https:' ? httpsRequest : httpRequest)(url, options, (response) => {
        let text = '';
        response.on('data', (chunk: Buffer) => {
          text += chunk.toString();
        });
        response.once('error', reject);
        response.once('end', () => {
          if ((response.statusCode ?? 500) < 300) resolve(text === '' ? (undefined as T) : (JSON.parse(text) as T));
          else reject(new Error(`${method} ${path}: ${response.statusCode} ${text}`));
        });
      });
      request.once('error', reject);
      request.end(body === undefined ? undefined : JSON.stringify(body));
    });
  }
}
