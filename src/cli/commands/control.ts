import { print, printJson } from '../terminal.ts';
import { runRole, type SettingOptions } from './serve.ts';

/** `hawser control`: runs until it is told to stop. */
export async function control(options: SettingOptions): Promise<number> {
  return runRole(options, async (config, { log, signal }) => {
    const { control: start } = await import('../../roles/control.ts');
    const running = await start(config, { log, signal });
    return {
      stop: running.stop,
      greet: () => {
        if (options.json === true) return printJson({ event: 'ready', addresses: running.addresses });
        if (options.quiet === true) return;
        print(`Hawser control is ready:  ${running.addresses.api ?? ''}`);
        print(`Sign in with the admin token in ${running.adminTokenPath}`);
        if (!running.page) print('The page is not built; npm run build:web builds it.');
        print('Hosts join with a token: hawser host token create');
      },
    };
  });
}
