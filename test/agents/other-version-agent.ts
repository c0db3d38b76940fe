import { pino } from 'pino';
import { loadConfig } from '../../src/config/load.ts';
import { agent } from '../../src/roles/agent.ts';

/** `hawser agent` that says it speaks another version of the link: `node other-version-agent.ts VERSION MINIMUM PROGRAM`. */
const [version, min, program] = process.argv.slice(2);
const stop = new AbortController();
process.on('SIGTERM', () => stop.abort());
const { config } = await loadConfig({
  flags: {},
  env: process.env,
  readFile: async () => undefined,
  uid: 1,
  home: '/',
});
const running = await agent(config, {
  log: pino(pino.destination(2)),
  signal: stop.signal,
  secret: process.env.HAWSER_JOIN,
  link: { version: Number(version), min: Number(min), program: program ?? '' },
});
if (!stop.signal.aborted) await new Promise((resolve) => stop.signal.addEventListener('abort', resolve));
await running.stop();
