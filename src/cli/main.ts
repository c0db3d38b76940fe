import { enableCompileCache } from 'node:module';

enableCompileCache();
const args = process.argv.slice(2);
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  // A download through a pipe that was cut is not done: its sink is told, and the command fails.
  if (args.includes('download')) return;
  // Whoever reads us may have seen enough: `hawser image ls | head -1`.
  if (error.code === 'EPIPE') process.exit(0);
  process.stderr.write(`hawser: The output could not be written: ${error.message}.\n`);
  process.exit(1);
});
const { runCli } = await import('./program.ts');
process.exitCode = await runCli(args);
