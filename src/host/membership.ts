import { X509Certificate } from 'node:crypto';
import { z } from 'zod';
import { HawserError } from '../core/errors.ts';
import { readIfThere, writeFileAtomic } from './atomic-file.ts';
import { newPrivateKey } from './authority.ts';

/** How this host belongs to a control; kept in the data folder, so that a joined agent needs no token again. */
const membershipSchema = z.object({
  /** The authority of the agents, PEM. */
  authority: z.string(),
  /** Our certificate with the authority's after it, PEM. */
  certificate: z.string(),
  generation: z.number().int(),
  /** Agent listeners of the controls, the one that answered last first. */
  controls: z.array(z.string()),
  /** SHA-256 of the token that we joined with: the same one again is no reason to join again. */
  joinedWith: z.string(),
});
export type KeptMembership = z.infer<typeof membershipSchema>;

type At = (...parts: readonly string[]) => string;

export async function readMembership(at: At): Promise<KeptMembership | undefined> {
  const there = await readIfThere(at('agent', 'membership.json'));
  if (there === undefined) return undefined;
  try {
    return membershipSchema.parse(JSON.parse(there.toString()));
  } catch (cause) {
    throw new HawserError(
      'corrupt',
      'The file agent/membership.json in the data folder cannot be read. Restore it, or remove it and join again with a new token.',
      { cause },
    );
  }
}

export async function saveMembership(at: At, membership: KeptMembership): Promise<void> {
  await writeFileAtomic(at('agent', 'membership.json'), `${JSON.stringify(membership, null, 2)}\n`);
}

/** The agent's private key, PEM; made once. */
export async function agentKey(at: At): Promise<string> {
  const there = await readIfThere(at('keys', 'agent.key'));
  if (there !== undefined) return there.toString();
  const made = await newPrivateKey();
  await writeFileAtomic(at('keys', 'agent.key'), made);
  return made;
}

/** Whether it is time for a new certificate: a third of its days is over. */
export function isDue(certificate: string, now: Date): boolean {
  const { validFrom, validTo } = new X509Certificate(certificate);
  const [from, to] = [Date.parse(validFrom), Date.parse(validTo)];
  return now.getTime() - from > (to - from) / 3;
}
