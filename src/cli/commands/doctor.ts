import { dataDirOf } from '../data-dir.ts';
import type { Finding } from '../doctor/finding.ts';
import { folderChecks } from '../doctor/folder-checks.ts';
import { programChecks } from '../doctor/program-checks.ts';
import { serverChecks } from '../doctor/server-checks.ts';
import { exitCodes } from '../exit-codes.ts';
import { type GlobalOptions, print, printJson } from '../terminal.ts';

/** `hawser doctor`: 0 when nothing fails; warnings do not count. */
export async function doctor(options: GlobalOptions): Promise<number> {
  const findings: Finding[] = [];
  const folder = dataDirOf(options.dataDir);
  for await (const finding of checks(folder, options)) {
    findings.push(finding);
    if (options.json !== true) show(finding);
  }
  const failed = findings.some(({ verdict }) => verdict === 'fail');
  if (options.json === true) printJson({ ok: !failed, findings });
  return failed ? exitCodes.failed : exitCodes.ok;
}

async function* checks(folder: string, options: GlobalOptions): AsyncGenerator<Finding> {
  yield* programChecks();
  yield* folderChecks(folder);
  yield* serverChecks(options);
}

function show({ about, next, said, verdict }: Finding): void {
  const mark = { ok: 'ok  ', warn: 'warn', fail: 'FAIL' }[verdict];
  print(`${mark}  ${about.padEnd(12)} ${said}`);
  if (next !== undefined) print(`${' '.repeat(19)}→ ${next}`);
}
