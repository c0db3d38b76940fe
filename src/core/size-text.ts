const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'];

/** Bytes for people, in binary units and three digits: `1.25 GiB`, `12.5 GiB`, `125 GiB`. */
export function sizeText(bytes: number): string {
  let value = bytes;
  let unit = 0;
  while (value >= 1023.5 && unit < units.length - 1) {
    value /= 1024;
    unit++;
  }
  const digits = unit === 0 || value >= 99.95 ? 0 : value >= 9.995 ? 1 : 2;
  return `${value.toFixed(digits).replace(/\.0+$/, '')} ${units[unit]}`;
}

/** As `sizeText`, but to the byte where rounding would make the two look alike. */
export function sizeTextBeside(bytes: number, other: number): string {
  const text = sizeText(bytes);
  return bytes !== other && text === sizeText(other) ? `${bytes} bytes` : text;
}
