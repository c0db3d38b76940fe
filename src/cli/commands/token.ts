import { HawserError } from '../../core/errors.ts';
import { connected } from '../connect.ts';
import { type GlobalOptions, note, outWidth, print, printJson } from '../terminal.ts';
import { table } from '../text.ts';

export async function listTokens(options: GlobalOptions): Promise<void> {
  await connected(options, async ({ api }) => {
    const tokens = await api.tokens();
    if (options.json === true) return printJson({ items: tokens });
    if (tokens.length === 0) return note('There are no API tokens. Make one: hawser token create NAME', options);
    const rows = tokens.map(({ createdAt, expiresAt, id, name, usedAt }) => [
      id.slice(0, 8),
      name,
      createdAt,
      usedAt ?? 'never',
      expiresAt ?? 'never',
    ]);
    print(table(['ID', 'NAME', 'CREATED', 'USED', 'EXPIRES'], rows, outWidth()));
  });
}

export async function createToken(name: string, options: GlobalOptions & { readonly expires?: number }): Promise<void> {
  const { expires } = options;
  await connected(options, async ({ api }) => {
    const made = await api.createToken({ name, ...(expires === undefined ? {} : { expiresInSeconds: expires }) });
    if (options.json === true) return printJson(made);
    note('Keep it now: it is not shown again.', options);
    print(made.token);
  });
}

export async function removeToken(text: string, options: GlobalOptions): Promise<void> {
  await connected(options, async ({ api }) => {
    const tokens = await api.tokens();
    const fitting = tokens.filter(({ id, name }) => name === text || (text.length >= 4 && id.startsWith(text)));
    const [first, ...more] = fitting;
    if (first === undefined) throw new HawserError('not-found', `There is no token "${text}".`);
    if (more.length > 0) {
      const list = fitting.map(({ id, name }) => `  ${id}  ${name}`).join('\n');
      throw new HawserError('name-ambiguous', `Several tokens fit "${text}"; give the id:\n${list}`);
    }
    await api.removeToken(first.id);
    if (options.json === true) printJson({ removed: first.id });
    else note(`The token ${first.name} is refused from now on.`, options);
  });
}
