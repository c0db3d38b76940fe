import { Button, Group, Stack, Text } from '@mantine/core';
import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query';
import { useState } from 'react';
import type { JoinTokenResource } from '../../../src/contract/api/host.ts';
import { calls } from '../api/calls.ts';
import { queries } from '../api/queries.ts';
import { Confirm } from '../parts/confirm.tsx';
import { ProblemNote } from '../parts/problem-note.tsx';
import { Section } from '../parts/section.tsx';
import { When } from '../parts/when.tsx';

/** Tokens that a host can still join with. Nothing is shown when there are none. */
export function JoinTokens() {
  const [leaving, setLeaving] = useState<JoinTokenResource>();
  const client = useQueryClient();
  const tokens = useQuery(queries.joinTokens());
  const revoke = useMutation({
    mutationFn: calls.removeJoinToken,
    onSuccess: async () => {
      setLeaving(undefined);
      await client.invalidateQueries({ queryKey: ['join-tokens'] });
    },
  });
  if (tokens.error !== null) return <ProblemNote error={tokens.error} onRetry={() => void tokens.refetch()} />;
  const open = (tokens.data?.items ?? []).filter(
    ({ expiresAt, usedAt }) => usedAt === null && Date.parse(expiresAt) > Date.now(),
  );
  if (open.length === 0) return null;
  return (
    <Section title="Open join tokens">
      <Stack component="ul" gap="sm" p={0} m={0} style={{ listStyle: 'none' }}>
        {open.map((token) => (
          <li key={token.id}>
            <Group justify="space-between" gap="xs">
              <div style={{ minWidth: 0, flex: 1 }}>
                <Text size="sm" fw={600} className="h-break">
                  {token.name}
                </Text>
                <Text size="sm" c="dimmed">
                  made by {token.createdBy} <When at={token.createdAt} /> · ends <When at={token.expiresAt} />
                </Text>
              </div>
              <Button
                size="xs"
                variant="default"
                aria-label={`Revoke ${token.name}`}
                onClick={() => {
                  revoke.reset();
                  setLeaving(token);
                }}
              >
                Revoke
              </Button>
            </Group>
          </li>
        ))}
      </Stack>
      <Confirm
        opened={leaving !== undefined}
        title="Revoke this token?"
        action="Revoke"
        busy={revoke.isPending}
        error={revoke.error}
        onConfirm={() => leaving && revoke.mutate(leaving.id)}
        onClose={() => setLeaving(undefined)}
      >
        No host can join with <b>{leaving?.name}</b> any more. Hosts that have joined stay.
      </Confirm>
    </Section>
  );
}
