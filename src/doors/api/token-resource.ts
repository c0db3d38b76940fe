import type { z } from 'zod';
import type { tokenResource } from '../../contract/api/session.ts';
import type { ApiToken } from '../../service/control/use-cases.ts';

export function tokenResourceOf(token: ApiToken): z.infer<typeof tokenResource> {
  return {
    id: token.id,
    name: token.name,
    createdAt: token.createdAt.toISOString(),
    usedAt: token.usedAt?.toISOString() ?? null,
    expiresAt: token.expiresAt?.toISOString() ?? null,
  };
}
