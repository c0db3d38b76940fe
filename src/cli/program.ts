import { Command, CommanderError } from 'commander';
import { nearest } from '../config/nearest.ts';
import { exitCodeHelp, exitCodes } from './exit-codes.ts';
import { imageCommands, transferCommands } from './image-commands.ts';
import type { Globals, Outcome } from './option-types.ts';
import { hostCommands, storeCommands, tokenCommands } from './place-commands.ts';
import { type GlobalOptions, reportError } from './terminal.ts';
import { ticketCommands } from './ticket-commands.ts';

/** Commands that run a server and take its settings as flags. */
const roles: readonly string[] = ['serve', 'control', 'agent'];

/** Runs one command line and resolves with the exit code. */
export async function runCli(args: readonly string[]): Promise<number> {
  const outcome = { code: exitCodes.ok as number };
  const program = buildProgram(outcome);
  if (args.some((arg) => roles.includes(arg) || arg === 'config')) {
    const { addSettingOptions } = await import('./commands/serve.ts');
    for (const command of program.commands) {
      if (roles.includes(command.name())) addSettingOptions(command);
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
export function buildProgram(outcome: Outcome = { code: 0 }): Command {
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
  hostCommands(program, globals, outcome);
  storeCommands(program, globals);
  tokenCommands(program, globals);
  ticketCommands(program, globals);
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

function localCommands(program: Command, globals: Globals, outcome: Outcome): void {
  program
    .command('serve')
    .description('serve everything on this machine')
    .action(async (options) => {
      outcome.code = await (await import('./commands/serve.ts')).serve({ ...globals(), ...options });
    });
  program
    .command('control')
    .description('serve the API and the page for hosts that join; keeps no bytes')
    .action(async (options) => {
      outcome.code = await (await import('./commands/control.ts')).control({ ...globals(), ...options });
    });
  program
    .command('agent')
    .description('keep and move bytes on this host for a control elsewhere')
    .option('--join <token>', 'the join token of a new host (HAWSER_JOIN); not needed again once it has joined')
    .option('--join-file <file>', 'a file that holds the join token (HAWSER_JOIN_FILE)')
    .option('--name <name>', 'what people call this host; the same as --host-name')
    .action(async (options) => {
      outcome.code = await (await import('./commands/agent.ts')).agent({ ...globals(), ...options });
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
