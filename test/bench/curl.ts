import { execFile } from 'node:child_process';
import { promisify } from 'node:util';

export interface CurlRequest {
  readonly url: string;
  readonly headers?: readonly string[];
  /** Sent with PUT; without it and `form`, it is a GET whose body goes nowhere. */
  readonly file?: string;
  /** Sent with POST as multipart/form-data: names and what curl's -F takes for each. */
  readonly form?: readonly (readonly [name: string, value: string])[];
  /** Of a GET: first and last byte. */
  readonly range?: readonly [number, number];
  /** Unix socket of the server. */
  readonly socket?: string;
}

/** All at the same time, each by a curl of its own; throws when one is not answered with a success. */
export async function curlAll(requests: readonly CurlRequest[]): Promise<void> {
  await Promise.all(requests.map(curl));
}

/** One of them. */
export async function curl({ url, headers = [], file, form = [], range, socket }: CurlRequest): Promise<void> {
  const sends = file !== undefined || form.length > 0;
  const { stdout } = await promisify(execFile)('curl', [
    ...['-sS', '-k', '--fail-with-body', '-o', sends ? '-' : '/dev/null', '-w', '\n%{http_code}'],
    ...headers.flatMap((header) => ['-H', header]),
    ...(file === undefined ? [] : ['-T', file]),
    ...form.flatMap(([name, value]) => ['-F', `${name}=${value}`]),
    ...(socket === undefined ? [] : ['--unix-socket', socket]),
    ...(range === undefined ? [] : ['-r', range.join('-')]),
    url,
  ]);
  const status = stdout.trim().split('\n').at(-1);
  if (!/^2\d\d$/.test(status ?? '')) throw new Error(`${url} answered ${status}: ${stdout.slice(0, 500)}`);
}
