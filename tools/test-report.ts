/** What a run of the tests came to. */
export interface TestReport {
  readonly passed: number;
  /** Tests, and files that could not even be loaded. */
  readonly failed: number;
  /** Names of tests that did not run. */
  readonly skipped: readonly string[];
}

/** Reads vitest's JSON report. What is no such report counts as one failure: the run came to no end. */
export function readReport(json: string): TestReport {
  const files = testFilesOf(parse(json));
  if (files === undefined) return { passed: 0, failed: 1, skipped: [] };
  let [passed, failed] = [0, 0];
  const skipped: string[] = [];
  for (const { status, tests } of files) {
    if (status === 'failed' && !tests.some((test) => test.status === 'failed')) failed++;
    for (const test of tests) {
      if (test.status === 'passed') passed++;
      else if (test.status === 'failed') failed++;
      else skipped.push(test.name);
    }
  }
  return { passed, failed, skipped };
}

export const NO_HINT = 'without a reason; see the test:';

/** What would have to be typed for the skipped tests to run, and which ones each line would bring. */
export function hintsOf(skipped: readonly string[]): ReadonlyMap<string, readonly string[]> {
  const hints = new Map<string, string[]>();
  for (const name of skipped) {
    const hint = /\[needs: ([^\]]+)\]$/.exec(name)?.[1] ?? NO_HINT;
    hints.set(hint, [...(hints.get(hint) ?? []), name]);
  }
  return new Map([...hints].sort((a, b) => b[1].length - a[1].length));
}

interface TestFile {
  readonly status: unknown;
  readonly tests: readonly { readonly status: unknown; readonly name: string }[];
}

function testFilesOf(report: unknown): readonly TestFile[] | undefined {
  const files = field(report, 'testResults');
  if (!Array.isArray(files) || files.length === 0) return undefined;
  return files.map((file: unknown) => {
    const tests = field(file, 'assertionResults');
    return {
      status: field(file, 'status'),
      tests: (Array.isArray(tests) ? tests : []).map((test: unknown) => ({
        status: field(test, 'status'),
        name: String(field(test, 'fullName')),
      })),
    };
  });
}

function parse(json: string): unknown {
  try {
    return JSON.parse(json);
  } catch {
    return undefined;
  }
}

function field(value: unknown, name: string): unknown {
  return typeof value === 'object' && value !== null ? Reflect.get(value, name) : undefined;
}
