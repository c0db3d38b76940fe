import { enableCompileCache } from 'node:module';

enableCompileCache();
// Whoever reads us may have seen enough: `hawser image ls | head -1`.
process.stdout.on('error', (error: NodeJS.ErrnoException) => process.exit(error.code === 'EPIPE' ? 0 : 1));
const { runCli } = await import('./program.ts');
process.exitCode = await runCli(process.argv.slice(2));
