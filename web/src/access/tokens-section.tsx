import { Alert, Button, Group, NativeSelect, Stack, Table, Text, TextInput } from '@mantine/core';
import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query';
import { type FormEvent, useState } from 'react';
import { calls, type TokenResource } from '../api/calls.ts';
import { queries } from '../api/queries.ts';
import { Confirm } from '../parts/confirm.tsx';
import { CopyLine } from '../parts/copy-line.tsx';
import { ProblemNote } from '../parts/problem-note.tsx';
import { Section } from '../parts/section.tsx';
import { When } from '../parts/when.tsx';

const DAY = 24 * 3600;
const lives = [
  { value: String(30 * DAY), label: '30 days' },
  { value: String(365 * DAY), label: 'One year' },
  { value: '', label: 'Until it is removed' },
];

export function TokensSection() {
  const tokens = useQuery(queries.tokens());
  const client = useQueryClient();
  const create = useMutation({
    mutationFn: calls.createToken,
    onSuccess: () => client.invalidateQueries({ queryKey: ['tokens'] }),
  });
  const submit = (event: FormEvent<HTMLFormElement>) => {
    event.preventDefault();
    const form = new FormData(event.currentTarget);
    const seconds = Number(form.get('life'));
    create.mutate({ name: String(form.get('name') ?? ''), ...(seconds > 0 ? { expiresInSeconds: seconds } : {}) });
    event.currentTarget.reset();
  };
  return (
    <Section title="Tokens for programs">
      <Stack gap="md">
        <Text size="sm" c="dimmed">
          For the hawser command, curl and scripts: each acts in your name until it ends or is removed.
        </Text>
        <form onSubmit={submit}>
          <Group align="flex-end">
            <TextInput
              name="name"
              label="What it is for"
              placeholder="backup script"
              required
              withAsterisk={false}
              maxLength={255}
            />
            <NativeSelect name="life" label="Valid for" data={lives} />
            <Button type="submit" loading={create.isPending}>
              Create token
            </Button>
          </Group>
        </form>
        {create.error !== null && <ProblemNote error={create.error} />}
        {create.data !== undefined && (
          <Alert variant="default" role="status" title={`Copy ${create.data.name} now: it is shown only this once`}>
            <CopyLine text={create.data.token} what="the token" />
          </Alert>
        )}
        {tokens.error !== null && <ProblemNote error={tokens.error} onRetry={() => void tokens.refetch()} />}
        {tokens.data !== undefined && <TokenTable tokens={tokens.data.items} />}
      </Stack>
    </Section>
  );
}

function TokenTable({ tokens }: { readonly tokens: readonly TokenResource[] }) {
  const [leaving, setLeaving] = useState<TokenResource>();
  const client = useQueryClient();
  const remove = useMutation({
    mutationFn: calls.removeToken,
    onSuccess: async () => {
      setLeaving(undefined);
      await client.invalidateQueries({ queryKey: ['tokens'] });
    },
  });
  if (tokens.length === 0) return <Text size="sm">No tokens yet.</Text>;
  return (
    // biome-ignore lint/a11y/noNoninteractiveTabindex: a region that scrolls must be reachable by keyboard
    <section className="h-scroll" tabIndex={0} aria-label="Tokens, scrolls sideways">
      <Table className="h-table" aria-label="Tokens" verticalSpacing="xs">
        <Table.Thead>
          <Table.Tr>
            <Table.Th>For</Table.Th>
            <Table.Th>Created</Table.Th>
            <Table.Th>Last used</Table.Th>
            <Table.Th>Ends</Table.Th>
            <Table.Th>Actions</Table.Th>
          </Table.Tr>
        </Table.Thead>
        <Table.Tbody>
          {tokens.map((token) => (
            <Table.Tr key={token.id}>
              <Table.Td className="h-break">{token.name}</Table.Td>
              <Table.Td>
                <When at={token.createdAt} />
              </Table.Td>
              <Table.Td>{token.usedAt === null ? 'never' : <When at={token.usedAt} />}</Table.Td>
              <Table.Td>{token.expiresAt === null ? 'when removed' : <When at={token.expiresAt} />}</Table.Td>
              <Table.Td>
                <Button
                  size="xs"
                  variant="default"
                  onClick={() => setLeaving(token)}
                  aria-label={`Remove ${token.name}`}
                >
                  Remove
                </Button>
              </Table.Td>
            </Table.Tr>
          ))}
        </Table.Tbody>
      </Table>
      <Confirm
        opened={leaving !== undefined}
        title="Remove this token?"
        action="Remove"
        busy={remove.isPending}
        onConfirm={() => leaving && remove.mutate(leaving.id)}
        onClose={() => setLeaving(undefined)}
      >
        Whatever uses <b>{leaving?.name}</b> can do nothing any more.
      </Confirm>
    </section>
  );
}
