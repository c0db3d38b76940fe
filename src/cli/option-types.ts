import { type Command, InvalidArgumentError } from 'commander';
import type { GlobalOptions } from './terminal.ts';
import { parseBytes } from './text.ts';

export type Globals = () => GlobalOptions;
/** What the process ends with; commands that can end in several ways set it. */
export type Outcome = { code: number };

export function bytes(text: string): number {
  const value = parseBytes(text);
  if (value === undefined) throw new InvalidArgumentError('Wanted: bytes, such as 4096, 512M or 10G.');
  return value;
}

export function count(text: string): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 1) throw new InvalidArgumentError('Wanted: a whole number from 1.');
  return value;
}

/** An option that may be given several times. */
export function several(text: string, before: readonly string[] = []): readonly string[] {
  return [...before, text];
}

/** Where the Copies of an Image shall lie. */
export function addPlacementOptions(command: Command): Command {
  return command
    .option('--min-copies <n>', 'how many copies there shall be', count)
    .option('--store-tag <tag>', 'copies go to stores with this tag only; may be repeated', several)
    .option('--host-tag <tag>', 'copies go to hosts with this tag only; may be repeated', several);
}
