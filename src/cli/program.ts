import { Command, CommanderError, InvalidArgumentError, Option } from 'commander';
import { nearest } from '../config/nearest.ts';
import { exitCodeHelp, exitCodes } from './exit-codes.ts';
import { type GlobalOptions, reportError } from './terminal.ts';
import { parseBytes } from './text.ts';

/** Runs one command line and resolves with the exit code. */
export async function runCli(args: readonly string[]): Promise<number> {
  const outcome = { code: exitCodes.ok as number };
  const program = buildProgram(outcome);
  if (args.some((arg) => arg === 'serve' || arg === 'config')) {
    const { addSettingOptions } = await import('./commands/serve.ts');
    for (const command of program.commands) {
      if (command.name() === 'serve') addSettingOptions(command);
      if (command.name() === 'config') for (const below of command.commands) addSettingOptions(below);
    }
  }
  try {
    await program.parseAsync(args, { from: 'user' });
    return outcome.code;
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? exitCodes.ok : exitCodes.usage;
    return reportError(error, program.opts<GlobalOptions>());
  }
}

/** The whole command tree. What a command does is loaded when it runs. */
export function buildProgram(outcome: { code: number } = { code: 0 }): Command {
  const program = new Command('hawser')
    .description('Moves disk images: resumable, verified, sparse-aware.')
    .exitOverride()
    .configureHelp({ showGlobalOptions: true })
    .showHelpAfterError('(hawser --help shows how)')
    .addHelpText('after', `\n${exitCodeHelp}`)
    .option('--server <url>', 'the server (HAWSER_SERVER, the login file, or a serve of this machine)')
    .option('--token <token>', 'API token (HAWSER_TOKEN)')
    .option('--ca <file>', 'certificates to trust, PEM (HAWSER_CA)')
    .option('--data-dir <folder>', 'data folder of a serve of this machine (HAWSER_DATA_DIR)')
    .option('--json', 'JSON on stdout, one object a line where there are several')
    .option('-q, --quiet', 'no progress and no notes')
    .option('--version', 'print the version')
    .allowExcessArguments()
    .action(async () => {
      const [unknown] = program.args;
      if (unknown !== undefined) noSuchCommand(program, unknown);
      if (program.opts<{ version?: boolean }>().version === true) {
        const { version } = await import('./commands/version.ts');
        version();
        return;
      }
      program.outputHelp();
      outcome.code = exitCodes.usage;
    });
  const globals = () => program.opts<GlobalOptions>();
  transferCommands(program, globals, outcome);
  imageCommands(program, globals, outcome);
  taskCommands(program, globals, outcome);
  placeCommands(program, globals);
  localCommands(program, globals, outcome);
  return program;
}

function noSuchCommand(program: Command, word: string): never {
  const close = nearest(
    word,
    program.commands.map((command) => command.name()),
  );
  program.error(`error: there is no command "${word}".${close === undefined ? '' : ` Did you mean ${close}?`}`);
}

type Globals = () => GlobalOptions;
type Outcome = { code: number };

function transferCommands(program: Command, globals: Globals, outcome: Outcome): void {
  program
    .command('upload')
    .description('upload a file, a block device or a pipe (-); run it again to go on')
    .argument('<file>', 'file, block device, or - for what comes through a pipe')
    .argument('[name]', 'name of the image; the base name of the file when left out')
    .option('--size <bytes>', 'size of what comes through the pipe (10G, 512M)', bytes)
    .option('--parallel <n>', 'requests at a time', count, 4)
    .option('--format <format>', 'raw, qcow2, …; what the first bytes say when left out')
    .option('--digest <algorithm:hex>', 'what the whole content must have, for example sha256:9f86…')
    .option('--store <store>', 'name or id of the store to use')
    .option('--resume <upload>', 'go on with the upload of this id')
    .option('--restart', 'cancel what is unfinished of this file and begin anew')
    .addOption(new Option('--chunk-size <bytes>', 'largest request').argParser(bytes).default(8 * 2 ** 20, '8M'))
    .option('--relay', 'send through the API, not straight to the data listener')
    .action(async (file: string, name: string | undefined, options) => {
      outcome.code = await (await import('./commands/upload.ts')).upload(file, name, { ...globals(), ...options });
    });
  program
    .command('download')
    .description('download an image; run it again to go on')
    .argument('<image>', 'name, id, or the beginning of an id')
    .argument('[file]', 'where to; - for a pipe; the name of the image when left out')
    .option('--force', 'replace a file that exists')
    .option('--parallel <n>', 'requests at a time', count, 4)
    .option('--relay', 'fetch through the API, not straight from the data listener')
    .action(async (image: string, file: string | undefined, options) => {
      outcome.code = await (await import('./commands/download.ts')).download(image, file, { ...globals(), ...options });
    });
}

function imageCommands(program: Command, globals: Globals, outcome: Outcome): void {
  const image = program.command('image').description('list, show, check, rename and remove images');
  const load = () => import('./commands/image.ts');
  const named = (name: string, description: string) =>
    image.command(name).description(description).argument('<image>', 'name, id, or the beginning of an id');
  image
    .command('ls')
    .description('list images, newest first')
    .option('--state <state>', 'only these')
    .option('--search <text>', 'part of a name')
    .action(async (options) => (await load()).listImages({ ...globals(), ...options }));
  named('show', 'all that is known of one image').action(async (text) => (await load()).showImage(text, globals()));
  named('rm', 'remove an image and its bytes').action(async (text) => (await load()).removeImage(text, globals()));
  named('rename', 'give an image another name')
    .argument('<name>', 'the new name')
    .action(async (text, name) => (await load()).renameImage(text, name, globals()));
  named('verify', 'read all of it and compare')
    .option('--no-wait', 'do not wait for the end')
    .action(async (text, options) => {
      outcome.code = await (await load()).verifyImage(text, { ...globals(), ...options });
    });
  named('digest', 'compute a flat digest')
    .addOption(new Option('--algorithm <name>', 'which one').choices(['sha256', 'sha512', 'md5']).default('sha256'))
    .option('--no-wait', 'do not wait for the end')
    .action(async (text, options) => {
      outcome.code = await (await load()).digestImage(text, { ...globals(), ...options });
    });
  named('map', 'show where there is data and where holes').action(async (text) =>
    (await import('./commands/image-map.ts')).mapImage(text, globals()),
  );
}

function taskCommands(program: Command, globals: Globals, outcome: Outcome): void {
  const task = program.command('task').description('list, show, watch, pause, resume and cancel tasks');
  const load = () => import('./commands/task.ts');
  const named = (name: string, description: string) =>
    task
      .command(name)
      .description(description)
      .argument('<task>', 'id, the beginning of one, or the name of its image');
  task
    .command('ls')
    .description('list tasks, newest first')
    .option('--state <states>', 'only these, divided by commas')
    .option('--all', 'also those that have ended')
    .action(async (options) => (await load()).listTasks({ ...globals(), ...options }));
  named('show', 'all that is known of one task').action(async (text) => (await load()).showTask(text, globals()));
  named('watch', 'show its progress until it ends').action(async (text) => {
    outcome.code = await (await load()).watchTask(text, globals());
  });
  for (const action of ['pause', 'resume', 'cancel'] as const) {
    named(action, `${action} it`).action(async (text) => (await load()).actOnTask(text, action, globals()));
  }
}

function placeCommands(program: Command, globals: Globals): void {
  const load = () => import('./commands/store.ts');
  const store = program.command('store').description('list stores');
  store
    .command('ls')
    .description('capacity, free space and state')
    .action(async () => (await load()).listStores(globals()));
  const loadTokens = () => import('./commands/token.ts');
  const token = program.command('token').description('list, create and remove API tokens');
  token
    .command('ls')
    .description('list them; the tokens themselves are not kept')
    .action(async () => (await loadTokens()).listTokens(globals()));
  token
    .command('create')
    .description('make one; it is shown this once')
    .argument('<name>', 'what it is for')
    .option('--expires <seconds>', 'valid for so long', count)
    .action(async (name, options) => (await loadTokens()).createToken(name, { ...globals(), ...options }));
  token
    .command('rm')
    .description('remove one; it is refused from then on')
    .argument('<token>', 'id, the beginning of one, or its name')
    .action(async (text) => (await loadTokens()).removeToken(text, globals()));
}

function localCommands(program: Command, globals: Globals, outcome: Outcome): void {
  program
    .command('serve')
    .description('serve everything on this machine')
    .action(async (options) => {
      outcome.code = await (await import('./commands/serve.ts')).serve({ ...globals(), ...options });
    });
  program
    .command('login')
    .description('sign in and remember the server')
    .argument('[url]', 'the server')
    .action(async (url) => (await import('./commands/login.ts')).login(url, globals()));
  program
    .command('logout')
    .description('forget the server')
    .action(async () => (await import('./commands/login.ts')).logout(globals()));
  const config = program.command('config').description('the settings of a server');
  config
    .command('show')
    .description('every setting, its value, and where that comes from')
    .action(async (options) => (await import('./commands/config.ts')).showConfig({ ...globals(), ...options }));
  program
    .command('doctor')
    .description('check this machine, its data folder and the server')
    .action(async () => {
      outcome.code = await (await import('./commands/doctor.ts')).doctor(globals());
    });
  program
    .command('completion')
    .description('a completion script for a shell')
    .addArgument(program.createArgument('<shell>', 'which one').choices(['bash', 'zsh', 'fish']))
    .addHelpText('after', '\nFor example: source <(hawser completion bash)')
    .action(async (shell) => (await import('./commands/completion.ts')).completion(shell, buildProgram()));
}

function bytes(text: string): number {
  const value = parseBytes(text);
  if (value === undefined) throw new InvalidArgumentError('Wanted: bytes, such as 4096, 512M or 10G.');
  return value;
}

function count(text: string): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 1) throw new InvalidArgumentError('Wanted: a whole number from 1.');
  return value;
}
