/** How a file is known again, the same for every client: its name, size and time of last change. */
export function fingerprintOf(file: {
  readonly name: string;
  readonly size: number;
  readonly modifiedMs: number;
}): string {
  return `file|${file.name}|${file.size}|${Math.floor(file.modifiedMs)}`.slice(0, 1000);
}
