import { errorCatalogue } from '../../src/core/errors.ts';
import { problemTable } from '../../src/doors/_http/problem.ts';
import { table } from './config-page.ts';

/** docs/errors.md, from the catalogue and the API's table. */
export function errorsPage(): string {
  const rows = typedEntries(errorCatalogue).map(([code, { title, retryable }]) => {
    const { status, next } = problemTable[code];
    return [`\`${code}\``, `${title}.`, String(status), retryable ? 'yes' : 'no', next];
  });
  return `# Errors

<!-- Made by \`npm run docs\` from src/core/errors.ts and src/doors/_http/problem.ts. Change it there. -->

Everything that Hawser refuses or cannot do has one of these codes, in the API as \`code\` of an
\`application/problem+json\` (RFC 9457), in a Task as its \`cause\`, in the CLI at the end of the message. \`detail\` says what
was wanted, what was found and what to do; \`details\` has the same facts for programs; \`requestId\` finds the line in the log.

*Retryable*: the same request may succeed later without anybody changing it. A Task that meets such an error is PAUSED, any
other makes it FAILURE. Wait as long as \`Retry-After\` says when it is there.

${table(['code', 'meaning', 'HTTP', 'retryable', 'what to do'], rows)}
HTTP's own refusals keep their status and share a code: 415 (a body that is not JSON) is \`unsupported\`, 408, 417 and 431 are
\`bad-request\`.
`;
}

function typedEntries<T extends object>(table: T): readonly [keyof T, T[keyof T]][] {
  return Object.entries(table) as [keyof T, T[keyof T]][];
}
