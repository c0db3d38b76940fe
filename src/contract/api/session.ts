import { z } from 'zod';
import { name, timestamp, uuid } from './common.ts';

/** `POST /session`: with a token (the admin token or an API token), or with user and password. Answers with a cookie too. */
export const loginRequest = z.union([
  z.object({ token: z.string().min(1).max(500) }),
  z.object({ user: z.string().min(1).max(100), password: z.string().min(1).max(500) }),
]);

export const me = z.object({
  user: z.string(),
  role: z.enum(['admin', 'user']),
  /** False until one was set: then only tokens sign in. */
  hasPassword: z.boolean(),
  version: z.string(),
});
export type Me = z.infer<typeof me>;

export const passwordRequest = z.object({
  password: z.string().min(10).max(500),
  current: z.string().max(500).optional(),
});

export const tokenResource = z.object({
  id: uuid,
  name,
  createdAt: timestamp,
  usedAt: timestamp.nullable(),
  expiresAt: timestamp.nullable(),
});
export const tokenRequest = z.object({ name, expiresInSeconds: z.number().int().positive().optional() });
/** The only time that the token itself is shown. */
export const tokenAnswer = tokenResource.extend({ token: z.string() });
export const tokenList = z.object({ items: z.array(tokenResource) });
