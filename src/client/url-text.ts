/**
 * The name that an Image from this URL gets when nobody gives one: the last part of its path, without
 * the ending of what is unpacked. Empty when the URL has no such part.
 */
export function nameFromUrl(url: string, { unpack }: { readonly unpack: boolean }): string {
  const last = parsed(url)
    ?.pathname.split('/')
    .findLast((part) => part !== '');
  if (last === undefined) return '';
  const name = decoded(last).slice(0, 255);
  return unpack ? name.replace(/(?<=.)\.(?:gz|xz|zst)$/i, '') : name;
}

/** The URL as it may be shown: user, password and what stands in the query stay hidden. */
export function shownUrl(url: string): string {
  const found = parsed(url);
  if (found === undefined) return '(a URL that cannot be shown)';
  const credentials = found.username === '' && found.password === '' ? '' : '…@';
  const query = found.search === '' ? '' : '?…';
  return `${found.protocol}//${credentials}${found.host}${found.pathname}${query}`;
}

function parsed(url: string): URL | undefined {
  try {
    return new URL(url);
  } catch {
    return undefined;
  }
}

function decoded(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}
