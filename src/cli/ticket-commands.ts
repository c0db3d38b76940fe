import { type Command, Option } from 'commander';
import { bytes, count, type Globals } from './option-types.ts';

const HOUR = 3600;

/** `hawser ticket …`: rights to read or write files and devices of this host, at its control socket. */
export function ticketCommands(program: Command, globals: Globals): void {
  const load = () => import('./commands/ticket.ts');
  const ticket = program
    .command('ticket')
    .description('make, list, extend and remove oVirt tickets for files and devices of this host');
  const one = (name: string, description: string) =>
    withControl(ticket.command(name).description(description)).argument(
      '<ticket>',
      'id, the beginning of one, or its transfer URL',
    );
  withControl(ticket.command('add'))
    .description('make a ticket; prints its transfer URL')
    .argument('<file>', 'file or block device below imageio.roots, or an nbd: URL')
    .option('--read-only', 'nothing can be written with it')
    .option('--size <bytes>', 'bytes that it allows (10G); what there is when left out', bytes)
    .option('--create', 'make the file, sparse and of --size, when it is not there')
    .option('--format <format>', 'what is in it as a guest sees it: qcow2, vmdk, …; the file as it is when left out')
    .option('--backing-chain', 'with --format: it may stand on other files below imageio.roots')
    .option('--preallocated', 'zeros are kept allocated, not punched out')
    .addOption(timeout('it ends when it was not used for so long'))
    .action(async (file, options) => (await load()).addTicket(file, { ...globals(), ...options }));
  withControl(ticket.command('ls'))
    .description('list them')
    .action(async (options) => (await load()).listTickets({ ...globals(), ...options }));
  one('show', 'all that is known of one ticket').action(async (text, options) =>
    (await load()).showTicket(text, { ...globals(), ...options }),
  );
  one('extend', 'let it live longer, also one that has expired')
    .addOption(timeout('from now on'))
    .action(async (text, options) => (await load()).extendTicket(text, { ...globals(), ...options }));
  one('rm', 'end what runs with it, and remove it').action(async (text, options) =>
    (await load()).removeTicket(text, { ...globals(), ...options }),
  );
}

function withControl(command: Command): Command {
  return command.option('--control <socket>', 'control socket; that of the server of this machine when left out');
}

function timeout(about: string): Option {
  return new Option('--timeout <seconds>', about).argParser(count).default(HOUR, 'an hour');
}
