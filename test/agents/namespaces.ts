import { execFile } from 'node:child_process';
import { randomInt } from 'node:crypto';
import { existsSync } from 'node:fs';
import { promisify } from 'node:util';
import type { ProcessPlace } from './real-process.ts';

const run = promisify(execFile);
const ip = async (...args: readonly string[]) => (await run('ip', [...args])).stdout;

/** A machine of its own, as far as the network goes. */
export interface NetworkPlace extends ProcessPlace {
  /** Takes its link down. */
  cut(): Promise<void>;
  heal(): Promise<void>;
}

/** Network namespaces on a bridge that the test's own process is on, too. All of it goes with it. */
export interface Network extends AsyncDisposable {
  addPlace(): Promise<NetworkPlace>;
}

/** Needs root. Names and addresses are unique for the process; what one that was killed left behind goes first. */
export async function openNetwork(): Promise<Network> {
  await removeLeftovers();
  const undo = new AsyncDisposableStack();
  const word = `hw${process.pid}${String.fromCharCode(97 + randomInt(26))}`;
  // Of the addresses that are set aside for tests between machines (RFC 2544).
  const subnet = `198.18.${randomInt(256)}`;
  let places = 0;
  try {
    await ip('link', 'add', word, 'type', 'bridge');
    undo.defer(async () => void (await ip('link', 'del', word)));
    await ip('addr', 'add', `${subnet}.254/24`, 'dev', word);
    await ip('link', 'set', word, 'up');
  } catch (error) {
    await undo.disposeAsync();
    throw error;
  }
  return {
    addPlace: async () => {
      const number = ++places;
      const name = `${word}${number}`;
      const address = `${subnet}.${number}`;
      await ip('netns', 'add', name);
      undo.defer(async () => void (await ip('netns', 'del', name))); // its link goes with it
      await ip('link', 'add', name, 'type', 'veth', 'peer', 'name', 'eth0', 'netns', name);
      await ip('link', 'set', name, 'master', word, 'up');
      for (const device of ['lo', 'eth0']) await ip('-n', name, 'link', 'set', device, 'up');
      await ip('-n', name, 'addr', 'add', `${address}/24`, 'dev', 'eth0');
      return {
        address,
        wrapper: ['ip', 'netns', 'exec', name],
        cut: async () => void (await ip('link', 'set', name, 'down')),
        heal: async () => void (await ip('link', 'set', name, 'up')),
      };
    },
    [Symbol.asyncDispose]: () => undo.disposeAsync(),
  };
}

async function removeLeftovers(): Promise<void> {
  const isLeft = (name: string) => {
    const [, pid] = /^hw(\d+)[a-z]\d*$/.exec(name) ?? [];
    return pid !== undefined && !existsSync(`/proc/${pid}`);
  };
  // What another test removes at this moment may be listed still.
  for (const name of firstWords(await ip('netns', 'list'))) {
    if (isLeft(name)) await ip('netns', 'del', name).catch(() => {});
  }
  for (const name of firstWords(await ip('-br', 'link', 'show', 'type', 'bridge'))) {
    if (isLeft(name)) await ip('link', 'del', name).catch(() => {});
  }
}

function firstWords(output: string): readonly string[] {
  return output.split('\n').map((line) => line.split(/\s+/)[0] ?? '');
}
