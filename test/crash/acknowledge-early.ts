import { registerHooks } from 'node:module';

/**
 * Loaded with `--import` before the server: changes the journal, as it is read, into one that says
 * "written" at once and writes 300 ms later. The crash suite must not let such a build pass.
 */
const changes = [
  [
    '/src/host/journal-file.ts',
    `      this.#queue.push({ records, resolve, reject });
      this.#writing ??= this.#drain();
`,
    `      resolve();
      setTimeout(() => {
        this.#queue.push({ records, resolve, reject });
        this.#writing ??= this.#drain();
      }, 300);
`,
  ],
] as const;

registerHooks({
  load(url, context, nextLoad) {
    const loaded = nextLoad(url, context);
    const change = changes.find(([file]) => url.endsWith(file));
    if (change === undefined) return loaded;
    const [file, right, wrong] = change;
    const parts = String(loaded.source).split(right);
    if (parts.length !== 2) {
      throw new Error(
        `The text to sabotage is ${parts.length - 1} times in ${file}, not once: bring acknowledge-early.ts up to date.`,
      );
    }
    return { ...loaded, source: parts.join(wrong) };
  },
});
