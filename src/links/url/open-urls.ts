import http, { type IncomingMessage, type OutgoingHttpHeaders } from 'node:http';
import https from 'node:https';
import type { LookupFunction } from 'node:net';
import { HawserError } from '../../core/errors.ts';
import { type Range, rangeEnd } from '../../core/range.ts';
import type { OpenUrl, UrlAnswer, UrlFile } from '../../service/host/ports.ts';
import type { AddressGuard } from './address-guard.ts';
import { answerOf } from './url-answer.ts';
import {
  downgraded,
  failureOf,
  notAllowed,
  notFound,
  refusalOf,
  silent,
  strangeScheme,
  strangeUser,
  tooManyRedirects,
} from './url-failures.ts';

/** A connection that brings no byte for so long is given up. */
const STALL_MS = 30_000;
const MOST_REDIRECTS = 5;
const REDIRECTS: ReadonlySet<number> = new Set([301, 302, 303, 307, 308]);

export interface ResolvedAddress {
  readonly address: string;
  readonly family: number;
}

export interface UrlSettings {
  readonly guard: AddressGuard;
  /** All addresses of a host name. */
  readonly resolve: (host: string) => Promise<readonly ResolvedAddress[]>;
  readonly now: () => Date;
  /** Told of bytes that passed in Buffers which are garbage by now. */
  readonly passed: (bytes: number) => void;
  readonly stallMs?: number;
}

/**
 * Files behind http and https URLs. Each connection goes to an address that was checked just before: the name is
 * looked up here, once, and what was found is what is connected to. No proxy, no cookies, no Referer.
 */
export function openUrls(settings: UrlSettings): OpenUrl {
  return (url) => new DistantFile(url, settings);
}

class DistantFile implements UrlFile {
  readonly #first: URL;
  readonly #settings: UrlSettings;
  readonly #plain = new http.Agent({ keepAlive: true });
  readonly #secure = new https.Agent({ keepAlive: true });
  /** Where the redirects led: mirrors differ, so it is asked again there. */
  #final: URL | undefined;

  constructor(url: string, settings: UrlSettings) {
    this.#first = parseUrl(url);
    this.#settings = settings;
  }

  get host(): string {
    return this.#first.host;
  }

  async get(wanted: Range | null, validator: string | null, signal: AbortSignal): Promise<UrlAnswer> {
    const headers: OutgoingHttpHeaders = {
      accept: '*/*',
      'accept-encoding': 'identity',
      'user-agent': 'hawser',
      ...(wanted === null ? {} : { range: `bytes=${wanted.offset}-${rangeEnd(wanted) - 1}` }),
      ...(wanted === null || validator === null ? {} : { 'if-range': validator }),
    };
    const { response, host } = await this.#found(headers, signal);
    const { passed, stallMs = STALL_MS } = this.#settings;
    return answerOf(response, { wanted, host, passed, stallMs });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#plain.destroy();
    this.#secure.destroy();
  }

  /** Where it was found last is asked first; signed addresses behind a redirect end after a while. */
  async #found(headers: OutgoingHttpHeaders, signal: AbortSignal): Promise<Found> {
    const known = this.#final;
    if (known !== undefined && known.href !== this.#first.href) {
      const found = await this.#send(known, headers, signal);
      const { statusCode = 0 } = found.response;
      if (statusCode < 300 || statusCode === 416 || statusCode === 429 || statusCode >= 500) return this.#accept(found);
      found.response.destroy();
      this.#final = undefined;
    }
    return this.#follow(headers, signal);
  }

  async #follow(headers: OutgoingHttpHeaders, signal: AbortSignal): Promise<Found> {
    let url = this.#first;
    for (let redirects = 0; redirects <= MOST_REDIRECTS; redirects++) {
      const found = await this.#send(url, headers, signal);
      const { statusCode = 0, headers: answered } = found.response;
      if (!REDIRECTS.has(statusCode) || answered.location === undefined) {
        const accepted = this.#accept(found);
        this.#final = url;
        return accepted;
      }
      found.response.destroy();
      const next = URL.parse(answered.location, url.href);
      if (next === null) throw notFound(url.host, 'it redirects to something that is no URL');
      if (url.protocol === 'https:' && next.protocol === 'http:') throw downgraded(url.host);
      url = checkScheme(next);
    }
    throw tooManyRedirects(this.#first.host, MOST_REDIRECTS);
  }

  /** 416 is an answer as well: an empty file has no range. */
  #accept(found: Found): Found {
    const { statusCode = 0, headers } = found.response;
    if (statusCode === 200 || statusCode === 206 || statusCode === 416) return found;
    found.response.destroy();
    throw refusalOf(statusCode, { host: found.host, retryAfter: headers['retry-after'], now: this.#settings.now() });
  }

  async #send(url: URL, headers: OutgoingHttpHeaders, signal: AbortSignal): Promise<Found> {
    signal.throwIfAborted();
    const name = url.hostname.replace(/^\[|\]$/g, '');
    const addresses = await this.#checked(name, url.host, signal);
    const { promise, resolve, reject } = Promise.withResolvers<IncomingMessage>();
    const secure = url.protocol === 'https:';
    const request = (secure ? https : http).get({
      agent: secure ? this.#secure : this.#plain,
      host: name,
      port: url.port,
      path: `${url.pathname}${url.search}`,
      headers: { ...headers, host: url.host, ...this.#credentials(url) },
      lookup: pinned(addresses),
      signal,
    });
    const timer = setTimeout(() => request.destroy(silent(url.host)), this.#settings.stallMs ?? STALL_MS).unref();
    request.on('response', resolve);
    request.on('error', (cause) => reject(signal.aborted ? signal.reason : failureOf(cause, url.host)));
    const response = await promise.finally(() => clearTimeout(timer));
    return { response, host: url.host };
  }

  /** Every address of the name must be allowed: one that leads inside among others is no accident. */
  async #checked(name: string, host: string, signal: AbortSignal): Promise<readonly ResolvedAddress[]> {
    const { guard, resolve } = this.#settings;
    const addresses = await orAborted(resolve(name), signal).catch((cause: unknown) => {
      throw signal.aborted ? signal.reason : failureOf(cause, host);
    });
    if (addresses.length === 0) throw notFound(host, 'its name has no address');
    for (const { address } of addresses) {
      const refusal = guard.refusal(name, address);
      if (refusal !== undefined) throw notAllowed(host, refusal);
    }
    return addresses;
  }

  /** Those of the URL go to its own origin and nowhere else, whatever redirects say. */
  #credentials(url: URL): OutgoingHttpHeaders {
    const owner =
      url.username !== '' || url.password !== '' ? url : url.origin === this.#first.origin ? this.#first : undefined;
    if (owner === undefined || (owner.username === '' && owner.password === '')) return {};
    const [user, password] = [decoded(owner.username), decoded(owner.password)];
    if (user === undefined || password === undefined) throw strangeUser(url.host);
    const pair = `${user}:${password}`;
    return { authorization: `Basic ${Buffer.from(pair).toString('base64')}` };
  }
}

interface Found {
  readonly response: IncomingMessage;
  /** Of the URL that answered. */
  readonly host: string;
}

function parseUrl(text: string): URL {
  const url = URL.parse(text);
  if (url === null)
    throw new HawserError(
      'bad-request',
      'What is to be fetched is no URL. Give one that begins with http:// or https://.',
    );
  return checkScheme(url);
}

function decoded(text: string): string | undefined {
  try {
    return decodeURIComponent(text);
  } catch {
    return undefined;
  }
}

function checkScheme(url: URL): URL {
  if (url.protocol !== 'http:' && url.protocol !== 'https:') throw strangeScheme(url.protocol);
  return url;
}

/** Answers with what was checked; the name is not looked up a second time. */
function pinned(addresses: readonly ResolvedAddress[]): LookupFunction {
  return (_host, options, callback) => {
    const first = addresses[0];
    if (options.all === true) callback(null, [...addresses]);
    else callback(null, first?.address ?? '', first?.family);
  };
}

/** A lookup cannot be ended; who stops does not wait for it. */
function orAborted<T>(wanted: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const stop = () => reject(signal.reason);
    signal.addEventListener('abort', stop, { once: true });
    wanted.then(resolve, reject).finally(() => signal.removeEventListener('abort', stop));
  });
}
