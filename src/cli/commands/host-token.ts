import { connected } from '../connect.ts';
import { pickNamed } from '../find-place.ts';
import { type GlobalOptions, note, outWidth, print, printJson } from '../terminal.ts';
import { printable, table } from '../text.ts';

export async function listJoinTokens(options: GlobalOptions): Promise<void> {
  await connected(options, async ({ api }) => {
    const tokens = await api.joinTokens();
    if (options.json === true) return printJson({ items: tokens });
    if (tokens.length === 0) return note('There are no join tokens. Make one: hawser host token create', options);
    const rows = tokens.map(({ createdBy, expiresAt, id, name, usedAt }) => [
      id.slice(0, 8),
      name,
      createdBy,
      expiresAt,
      usedAt === null ? 'no' : usedAt,
    ]);
    print(table(['ID', 'NAME', 'MADE BY', 'EXPIRES', 'USED'], rows, outWidth()));
  });
}

/** The secret is the one line on stdout; what to do with it is said on stderr. */
export async function createJoinToken(
  name: string | undefined,
  options: GlobalOptions & { readonly expires?: number },
): Promise<void> {
  const { expires } = options;
  await connected(options, async ({ api }) => {
    const body = {
      ...(name === undefined ? {} : { name }),
      ...(expires === undefined ? {} : { expiresInSeconds: expires }),
    };
    const made = await api.createJoinToken(body);
    if (options.json === true) return printJson({ ...made, command: joinCommand(made.secret) });
    note(`Good for one host, until ${made.expiresAt}; it is not shown again. On the new host run:`, options);
    note(`  ${joinCommand(made.secret)}\n`, options);
    if (made.warning !== null) note(`Warning: ${made.warning}`, options);
    print(made.secret);
  });
}

export async function removeJoinToken(text: string, options: GlobalOptions): Promise<void> {
  await connected(options, async ({ api }) => {
    const token = pickNamed('join token', text, await api.joinTokens());
    await api.removeJoinToken(token.id);
    if (options.json === true) printJson({ removed: token.id });
    else note(`The join token ${printable(token.name)} is refused from now on.`, options);
  });
}

function joinCommand(secret: string): string {
  return `hawser agent --join ${secret}`;
}
