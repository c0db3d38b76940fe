/**
 * JSON values as Python has them: whole numbers of any size, told apart from others by how they are written.
 * Numbers within 2^53 stay numbers.
 */
export type Value = null | boolean | number | bigint | Fraction | string | readonly Value[] | Dict;
export type Dict = { readonly [key: string]: Value };

/** A number with a point or an exponent: a `float`, also when it is whole. */
export class Fraction {
  readonly value: number;

  constructor(value: number) {
    this.value = value;
  }
}

/** Throws SyntaxError. */
export function parseJson(text: string): Value {
  return JSON.parse(text, function revive(this: unknown, _key: string, value: unknown, context?: { source?: string }) {
    if (typeof value !== 'number') return value;
    const source = context?.source ?? String(value);
    if (!/^-?\d+$/.test(source)) return new Fraction(value);
    return Number.isSafeInteger(value) ? value : BigInt(source);
  } as (key: string, value: unknown) => unknown) as Value;
}

/** As `json.dumps` writes it: blanks after commas and colons, ASCII only. Undefined values are left out. */
export function toJson(value: Value | undefined): string {
  if (value === null || value === undefined) return 'null';
  if (typeof value === 'string') return asciiString(value);
  if (value instanceof Fraction) return fractionText(value);
  if (isList(value)) return `[${value.map(toJson).join(', ')}]`;
  if (typeof value !== 'object') return String(value);
  const entries = Object.entries(value).filter(([, item]) => item !== undefined);
  return `{${entries.map(([key, item]) => `${asciiString(key)}: ${toJson(item)}`).join(', ')}}`;
}

/** As `repr` writes it; long texts are cut. */
export function repr(value: Value | undefined): string {
  if (value === null || value === undefined) return 'None';
  if (typeof value === 'boolean') return value ? 'True' : 'False';
  if (typeof value === 'string') return reprString(value);
  if (value instanceof Fraction) return fractionText(value);
  if (isList(value)) return `[${value.map(repr).join(', ')}]`;
  if (typeof value !== 'object') return String(value);
  return `{${Object.entries(value)
    .map(([key, item]) => `${reprString(key)}: ${repr(item)}`)
    .join(', ')}}`;
}

export function isDict(value: Value | undefined): value is Dict {
  return typeof value === 'object' && value !== null && !isList(value) && !(value instanceof Fraction);
}

export function isList(value: Value | undefined): value is readonly Value[] {
  return Array.isArray(value);
}

/** An `int`; as in Python a boolean is one. */
export function integerOf(value: Value | undefined): bigint | undefined {
  if (typeof value === 'boolean') return value ? 1n : 0n;
  if (typeof value === 'bigint') return value;
  return typeof value === 'number' ? BigInt(value) : undefined;
}

const MOST_SHOWN = 1000;

function reprString(text: string): string {
  const shown = text.length > MOST_SHOWN ? `${text.slice(0, MOST_SHOWN)}…` : text;
  const quote = shown.includes("'") && !shown.includes('"') ? '"' : "'";
  const escaped = shown
    .replaceAll('\\', '\\\\')
    .replaceAll('\n', '\\n')
    .replaceAll('\r', '\\r')
    .replaceAll('\t', '\\t')
    .replaceAll(quote, `\\${quote}`)
    .replace(/\p{Cc}/gu, (c) => `\\x${c.charCodeAt(0).toString(16).padStart(2, '0')}`);
  return `${quote}${escaped}${quote}`;
}

function asciiString(text: string): string {
  return JSON.stringify(text).replace(/[\x7f-\uffff]/g, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`);
}

function fractionText({ value }: Fraction): string {
  return Number.isInteger(value) && Math.abs(value) < 1e16 ? `${value}.0` : String(value);
}
