import { readFile } from 'node:fs/promises';
import { HawserError } from '../../core/errors.ts';
import { print, printJson } from '../terminal.ts';
import { runRole, type SettingOptions } from './serve.ts';

interface AgentOptions extends SettingOptions {
  readonly join?: string;
  readonly joinFile?: string;
  readonly name?: string;
}

/** `hawser agent`: runs until it is told to stop. */
export async function agent({ name, ...given }: AgentOptions): Promise<number> {
  const options = name === undefined ? given : { ...given, hostName: name };
  const secret = await joinSecretOf(options);
  return runRole(options, async (config, { log, signal }) => {
    const { agent: start } = await import('../../roles/agent.ts');
    const running = await start(config, { log, signal, secret });
    return {
      stop: running.stop,
      greet: () => {
        if (options.json === true) return printJson({ event: 'ready', addresses: running.addresses });
        if (options.quiet === true) return;
        print(`The agent is ready:  ${running.addresses.agent ?? ''}`);
        print(`Bytes:               ${running.addresses.data ?? ''}`);
      },
    };
  });
}

/** The flag, the file of the flag, HAWSER_JOIN, then the file of HAWSER_JOIN_FILE. */
async function joinSecretOf(options: AgentOptions): Promise<string | undefined> {
  if (options.join !== undefined) return options.join.trim();
  if (options.joinFile === undefined && process.env.HAWSER_JOIN) return process.env.HAWSER_JOIN.trim();
  const path = options.joinFile ?? (process.env.HAWSER_JOIN_FILE || undefined);
  if (path === undefined) return undefined;
  try {
    return (await readFile(path, 'utf8')).trim();
  } catch (cause) {
    throw new HawserError('bad-request', `The file ${path} with the join token cannot be read.`, { cause });
  }
}
