import { type Command, Option } from 'commander';
import { addPlacementOptions, bytes, count, type Globals, type Outcome, several } from './option-types.ts';

export function transferCommands(program: Command, globals: Globals, outcome: Outcome): void {
  const upload = program
    .command('upload')
    .description('upload a file, a block device or a pipe (-); run it again to go on')
    .argument('<file>', 'file, block device, or - for what comes through a pipe')
    .argument('[name]', 'name of the image (the base name of the file when left out), or the URL of an oVirt ticket')
    .option('--size <bytes>', 'size of what comes through the pipe (10G, 512M)', bytes)
    .option('--parallel <n>', 'requests at a time', count, 4)
    .option('--format <format>', 'raw, qcow2, …; what the first bytes say when left out')
    .option('--digest <algorithm:hex>', 'what the whole content must have, for example sha256:9f86…')
    .option('--store <store>', 'name or id of the store to use')
    .option('--resume <upload>', 'go on with the upload of this id')
    .option('--restart', 'cancel what is unfinished of this file (with a ticket: compare nothing) and begin anew')
    .addOption(new Option('--chunk-size <bytes>', 'largest request').argParser(bytes).default(8 * 2 ** 20, '8M'))
    .option('--relay', 'send through the API, not straight to the data listener');
  addPlacementOptions(upload).action(async (file: string, name: string | undefined, options) => {
    outcome.code = await (await import('./commands/upload.ts')).upload(file, name, { ...globals(), ...options });
  });
  program
    .command('download')
    .description('download an image; run it again to go on')
    .argument('<image>', 'name, id, or the beginning of an id; or the URL of an oVirt ticket')
    .argument('[file]', 'where to; - for a pipe; the name of the image when left out')
    .option('--force', 'replace a file that exists')
    .option('--parallel <n>', 'requests at a time', count, 4)
    .option('--relay', 'fetch through the API, not straight from the data listener')
    .action(async (image: string, file: string | undefined, options) => {
      outcome.code = await (await import('./commands/download.ts')).download(image, file, { ...globals(), ...options });
    });
  importCommand(program, globals, outcome);
}

export function imageCommands(program: Command, globals: Globals, outcome: Outcome): void {
  const image = program.command('image').description('list, show, check, change, copy and remove images');
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
  copyCommands(named, globals, outcome);
  importCommand(image, globals, outcome);
}

function copyCommands(named: (name: string, about: string) => Command, globals: Globals, outcome: Outcome): void {
  const load = () => import('./commands/image-copies.ts');
  named('copies', 'list its copies, add one, or remove some')
    .option('--add', 'make one more copy')
    .option('--store <store>', 'on this store: name, host/name or id; Hawser chooses one when left out')
    .option(
      '--remove <copy>',
      'remove it: id, name of its store, or host/store; may be repeated, all go or none',
      several,
    )
    .option('--no-wait', 'do not wait until the new copy is there')
    .action(async (text, options) => {
      outcome.code = await (await load()).imageCopies(text, { ...globals(), ...options });
    });
  addPlacementOptions(named('set', 'change how many copies there shall be, and where'))
    .addHelpText('after', "\nA tag option replaces the tags of before; an empty one ('') asks for none.")
    .action(async (text, options) => (await load()).setImage(text, { ...globals(), ...options }));
  const clone = named('clone', 'make a new image with the same bytes, without this machine')
    .argument('<name>', 'name of the new image')
    .option('--store <store>', 'name, host/name or id of the store to use')
    .option('--no-wait', 'do not wait for the end');
  named('fetch', 'fetch a failed download or clone once more, in its place')
    .option('--no-wait', 'do not wait for the end')
    .action(async (text, options) => {
      const { fetchImage } = await import('./commands/image-create.ts');
      outcome.code = await fetchImage(text, { ...globals(), ...options });
    });
  addPlacementOptions(clone).action(async (text, name, options) => {
    const { cloneImage } = await import('./commands/image-create.ts');
    outcome.code = await cloneImage(text, name, { ...globals(), ...options });
  });
}

/** `hawser import`, and the same as `hawser image import`. */
function importCommand(parent: Command, globals: Globals, outcome: Outcome): void {
  const command = parent
    .command('import')
    .description('have a storage host fetch an image from a URL')
    .argument('<url>', 'http:// or https://')
    .argument('[name]', 'name of the image; the last part of the URL when left out')
    .option('--format <format>', 'raw, qcow2, …; what the first bytes say when left out')
    .option('--digest <algorithm:hex>', 'what the whole content must have, for example sha256:9f86…')
    .option('--unpack', 'unpack gzip, xz or zstd on the way')
    .option('--store <store>', 'name, host/name or id of the store to use')
    .option('--no-wait', 'do not wait for the end');
  addPlacementOptions(command).action(async (url: string, name: string | undefined, options) => {
    const { importImage } = await import('./commands/image-create.ts');
    outcome.code = await importImage(url, name, { ...globals(), ...options });
  });
}
