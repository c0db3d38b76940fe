import { HawserError } from '../../core/errors.ts';

/** `host` in all of these is host:port of the URL at most: the rest of a URL may be secret. */
export function refusalOf(
  status: number,
  { host, retryAfter, now }: { readonly host: string; readonly retryAfter: string | undefined; readonly now: Date },
): HawserError {
  const said = `${host} answered ${status}`;
  const seconds = retryAfterSeconds(retryAfter, now);
  const details = { status, ...(seconds === undefined ? {} : { retryAfterSeconds: seconds }) };
  if (status === 429) return new HawserError('too-many', `${said}: it asks for patience.`, { details });
  if (status >= 500 || status === 408 || status === 425)
    return new HawserError('unavailable', `${said}: it cannot give the file now.`, { details });
  if (status === 404 || status === 410)
    return new HawserError('not-found', `${said}: the file is not there. Look at the URL.`, { details });
  if (status === 401 || status === 403 || status === 407 || status === 451)
    return new HawserError(
      'forbidden',
      `${said}: it does not give the file to us. Look at the URL and what it must carry.`,
      { details },
    );
  return new HawserError('unsupported', `${said}, which is no way to give a file. Look at the URL.`, { details });
}

const tlsCodes = /^(CERT_|UNABLE_TO_|SELF_SIGNED|DEPTH_ZERO|ERR_TLS_CERT|HOSTNAME_MISMATCH|INVALID_CA|ERR_SSL_)/;

/** What a lookup, a connection or a request fails with. */
export function failureOf(cause: unknown, host: string): HawserError {
  if (cause instanceof HawserError) return cause;
  const code = cause instanceof Error && 'code' in cause ? String(cause.code) : '';
  if (tlsCodes.test(code)) {
    return new HawserError(
      'forbidden',
      `The certificate of ${host} cannot be verified (${code}). If it is of an authority of your own, start the agent with NODE_EXTRA_CA_CERTS.`,
      { cause },
    );
  }
  if (code === 'ENOTFOUND')
    return new HawserError('unavailable', `The name ${host} is not known now. Look at the URL.`, { cause });
  return new HawserError('unavailable', `${host} cannot be reached now${code === '' ? '' : ` (${code})`}.`, { cause });
}

export function notAllowed(host: string, why: string): HawserError {
  return new HawserError(
    'forbidden',
    `Nothing is fetched from ${host}: ${why}, and downloads go to the public internet only. Who runs this agent can allow it with downloads.allow.`,
  );
}

export function notFound(host: string, why: string): HawserError {
  return new HawserError('not-found', `Nothing can be fetched from ${host}: ${why}.`);
}

export function downgraded(host: string): HawserError {
  return new HawserError(
    'forbidden',
    `${host} redirects from https to http, which is not followed. Give the URL where the file is.`,
  );
}

export function tooManyRedirects(host: string, most: number): HawserError {
  return new HawserError('not-found', `${host} redirects more than ${most} times. Give the URL where the file is.`);
}

export function strangeScheme(protocol: string): HawserError {
  return new HawserError('forbidden', `Files are fetched over http and https, not over ${protocol.replace(/:$/, '')}.`);
}

export function strangeUser(host: string): HawserError {
  return new HawserError(
    'bad-request',
    `The user or password in the URL of ${host} has a % that is no escape. Write % as %25.`,
  );
}

export function silent(host: string): HawserError {
  return new HawserError('unavailable', `${host} does not answer.`);
}

export function strangeAnswer(host: string, what: string): HawserError {
  return new HawserError('unsupported', `${host} answered with ${what}.`, { details: { strange: true } });
}

/** RFC 9110 10.2.3: seconds or a date. */
function retryAfterSeconds(text: string | undefined, now: Date): number | undefined {
  if (text === undefined) return undefined;
  if (/^\d+$/.test(text.trim())) return Number(text);
  const at = Date.parse(text);
  return Number.isNaN(at) ? undefined : Math.max(0, Math.ceil((at - now.getTime()) / 1000));
}
