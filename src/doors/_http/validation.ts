import type { FastifySchemaCompiler } from 'fastify';
import type { z } from 'zod';
import { HawserError } from '../../core/errors.ts';

/**
 * Fastify's validator over zod schemas. What does not fit becomes `bad-request` that says for each
 * field what was wanted and what was found; `details.fields` has the same for programs.
 */
export const zodValidator: FastifySchemaCompiler<z.ZodType> = ({ schema, httpPart }) => {
  return (data: unknown) => {
    const result = schema.safeParse(data);
    if (result.success) return { value: result.data };
    return { error: validationError(result.error, data, partNames[httpPart ?? ''] ?? 'request') };
  };
};

const partNames: Readonly<Record<string, string>> = {
  body: 'body',
  querystring: 'query',
  params: 'path',
  headers: 'headers',
};

export interface FieldProblem {
  readonly field: string;
  readonly wanted: string;
  readonly found: string;
}

/** The `bad-request` for a zod error over `data`. At most eight fields are told. */
export function validationError(error: z.core.$ZodError, data: unknown, part: string): HawserError {
  if (part === 'body' && (data === undefined || data === null)) {
    return new HawserError('bad-request', 'The request needs a JSON body (content-type: application/json); none came.');
  }
  const fields = flatten(error.issues)
    .slice(0, 8)
    .map((issue) => fieldProblem(issue, data));
  const sentences = fields.map(
    ({ field, wanted, found }) => `${field === '' ? `the ${part}` : `"${field}" in the ${part}`}: ${wanted}; ${found}`,
  );
  return new HawserError('bad-request', `${capital(sentences.join('. '))}.`, { details: { part, fields } });
}

type Issue = z.core.$ZodIssue;

/** A union that fits nowhere: the branch that came nearest says it best. */
function flatten(issues: readonly Issue[]): readonly Issue[] {
  return issues.flatMap((issue) => {
    if (issue.code !== 'invalid_union') return [issue];
    const branches = issue.errors.filter((branch) => branch.length > 0);
    const nearest = [...branches].sort((a, b) => a.length - b.length)[0];
    if (nearest === undefined) return [issue];
    return flatten(nearest.map((inner) => ({ ...inner, path: [...issue.path, ...inner.path] })));
  });
}

function fieldProblem(issue: Issue, data: unknown): FieldProblem {
  const field = issue.path.map(String).join('.');
  return { field, wanted: lower(issue.message.replace(/, received .*$/, '')), found: `found ${shown(issue, data)}` };
}

const secret = /password|token|secret|current|key/i;

function shown(issue: Issue, data: unknown): string {
  let value = data;
  for (const step of issue.path) {
    value = typeof value === 'object' && value !== null ? Reflect.get(value, step) : undefined;
  }
  if (value === undefined) return 'nothing';
  if (value === null) return 'null';
  if (issue.path.some((step) => secret.test(String(step)))) return `a ${typeof value} that is not shown`;
  if (typeof value === 'object') return Array.isArray(value) ? `a list of ${value.length}` : 'an object';
  const text = JSON.stringify(value);
  return text.length > 80 ? `${text.slice(0, 80)}… (${text.length} characters)` : text;
}

function lower(text: string): string {
  return text.charAt(0).toLowerCase() + text.slice(1);
}

function capital(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1);
}
