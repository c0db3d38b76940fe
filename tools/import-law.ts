import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { cruise, type ICruiseResult } from 'dependency-cruiser';
import { root } from './run.ts';

/** One import that breaks a rule of `.dependency-cruiser.mjs`. */
export interface Breach {
  readonly rule: string;
  readonly from: string;
  readonly to: string;
  /** What to do instead. */
  readonly comment: string;
}

export interface Rule {
  readonly name: string;
  readonly comment: string;
}

const places = ['src', 'web/src', 'web/vite.config.ts', 'tools', 'test', 'vitest.config.ts'];

export async function lawRules(): Promise<readonly Rule[]> {
  return (await readLaw()).forbidden;
}

/** Every breach of the import law in the tree at `folder`. */
export async function findBreaches(folder: string): Promise<readonly Breach[]> {
  const law = await readLaw();
  const { output } = await cruise(
    places.filter((place) => existsSync(join(folder, place))),
    { ...law.options, baseDir: folder, validate: true, ruleSet: { forbidden: law.forbidden } },
    law.options.enhancedResolveOptions,
  );
  if (typeof output === 'string') throw new Error(`dependency-cruiser answered with text: ${output.slice(0, 200)}`);
  return breachesOf(output, law.forbidden);
}

function breachesOf(result: ICruiseResult, rules: readonly Rule[]): readonly Breach[] {
  return result.summary.violations.map(({ rule, from, to, cycle }) => ({
    rule: rule.name,
    from,
    to: cycle === undefined ? to : cycle.map(({ name }) => name).join(' → '),
    comment: rules.find(({ name }) => name === rule.name)?.comment ?? '',
  }));
}

async function readLaw() {
  const { default: law } = await import(pathToFileURL(join(root, '.dependency-cruiser.mjs')).href);
  return law;
}

if (import.meta.main) {
  const breaches = await findBreaches(root);
  for (const rule of new Set(breaches.map(({ rule }) => rule))) {
    const those = breaches.filter((breach) => breach.rule === rule);
    console.log(`${rule}: ${those[0]?.comment}`);
    for (const { from, to } of those) console.log(from === to ? `  ${from}` : `  ${from} → ${to}`);
  }
  process.exitCode = breaches.length === 0 ? 0 : 1;
}
