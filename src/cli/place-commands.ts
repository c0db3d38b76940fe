import type { Command } from 'commander';
import type { StoreAct } from './commands/store.ts';
import { count, type Globals, type Outcome, several } from './option-types.ts';

export function hostCommands(program: Command, globals: Globals, outcome: Outcome): void {
  const load = () => import('./commands/host.ts');
  const host = program.command('host').description('list, drain, tag, add and remove hosts');
  const named = (name: string, description: string) =>
    host.command(name).description(description).argument('<host>', 'name, id, or the beginning of an id');
  host
    .command('ls')
    .description('state, stores, copies and space')
    .action(async () => (await load()).listHosts(globals()));
  named('show', 'all that is known of one host').action(async (text) => (await load()).showHost(text, globals()));
  named('enable', 'it may take new copies').action(async (text) => (await load()).enableHost(text, true, globals()));
  named('disable', 'nothing new is placed there; what it has stays').action(async (text) =>
    (await load()).enableHost(text, false, globals()),
  );
  named('drain', 'move its copies to other hosts, and place nothing new there')
    .option('--wait', 'until nothing is left on it')
    .action(async (text, options) => {
      outcome.code = await (await load()).drainHost(text, { ...globals(), ...options });
    });
  named('undrain', 'take the draining back').action(async (text) => (await load()).undrainHost(text, globals()));
  tagOptions(named('tag', 'add or remove tags; lists them')).action(async (text, add, options) =>
    (await load()).tagHost(text, { add, ...options }, globals()),
  );
  named('rm', 'take a host out that is away and has no copies')
    .option('--force', 'also one with copies: they are lost, and so is an image that has no other copy')
    .action(async (text, options) => (await load()).removeHost(text, { ...globals(), ...options }));
  joinTokenCommands(host, globals);
}

function joinTokenCommands(host: Command, globals: Globals): void {
  const load = () => import('./commands/host-token.ts');
  const token = host.command('token').description('join tokens: each lets one new host in');
  token
    .command('ls')
    .description('list them; the tokens themselves are not kept')
    .action(async () => (await load()).listJoinTokens(globals()));
  token
    .command('create')
    .description('make one, and say what to run on the new host; it is shown this once')
    .argument('[name]', 'what it is for')
    .option('--expires <seconds>', 'valid for so long; an hour when left out', count)
    .action(async (name, options) => (await load()).createJoinToken(name, { ...globals(), ...options }));
  token
    .command('rm')
    .description('remove one; it is refused from then on')
    .argument('<token>', 'id, the beginning of one, or its name')
    .action(async (text) => (await load()).removeJoinToken(text, globals()));
}

export function storeCommands(program: Command, globals: Globals): void {
  const load = () => import('./commands/store.ts');
  const store = program.command('store').description('list, evict and tag stores');
  const named = (name: string, description: string) =>
    store.command(name).description(description).argument('<store>', 'name, host/name, id, or the beginning of an id');
  store
    .command('ls')
    .description('capacity, free space and state')
    .action(async () => (await load()).listStores(globals()));
  named('show', 'all that is known of one store').action(async (text) => (await load()).showStore(text, globals()));
  const acts = {
    enable: 'it may take new copies',
    disable: 'nothing new is placed there; what it has stays',
    evict: 'move its copies to other stores, and place nothing new there',
    unevict: 'take the evicting back',
  } as const satisfies Record<StoreAct, string>;
  for (const act of ['enable', 'disable', 'evict', 'unevict'] as const) {
    named(act, acts[act]).action(async (text) => (await load()).changeStore(text, act, globals()));
  }
  tagOptions(named('tag', 'add or remove tags; lists them')).action(async (text, add, options) =>
    (await load()).tagStore(text, { add, ...options }, globals()),
  );
}

export function tokenCommands(program: Command, globals: Globals): void {
  const load = () => import('./commands/token.ts');
  const token = program.command('token').description('list, create and remove API tokens');
  token
    .command('ls')
    .description('list them; the tokens themselves are not kept')
    .action(async () => (await load()).listTokens(globals()));
  token
    .command('create')
    .description('make one; it is shown this once')
    .argument('<name>', 'what it is for')
    .option('--expires <seconds>', 'valid for so long', count)
    .action(async (name, options) => (await load()).createToken(name, { ...globals(), ...options }));
  token
    .command('rm')
    .description('remove one; it is refused from then on')
    .argument('<token>', 'id, the beginning of one, or its name')
    .action(async (text) => (await load()).removeToken(text, globals()));
}

function tagOptions(command: Command): Command {
  return command
    .argument('[tags...]', 'tags to add')
    .option('--remove <tag>', 'take this one away; may be repeated', several)
    .option('--clear', 'take all away first');
}
