import { z } from 'zod';

/**
 * Which host must answer at an address: the certificate there must be of its agent (`CN=ID, OU=agent`) and of the key
 * with this SHA-256 (hex of the SubjectPublicKeyInfo); a null `keyHash` leaves the key open.
 */
export const hostIdentity = z.object({ id: z.uuid(), keyHash: z.string().nullable() });
