import { Button, Group, PasswordInput, Stack } from '@mantine/core';
import { useMutation, useQueryClient } from '@tanstack/react-query';
import { type FormEvent, type ReactNode, useState } from 'react';
import { calls } from '../api/calls.ts';
import { ProblemNote } from '../parts/problem-note.tsx';

const MIN_LENGTH = 10;

interface PasswordFormProps {
  readonly hasPassword: boolean;
  readonly onDone: () => void;
  readonly beside?: ReactNode;
}

export function PasswordForm({ hasPassword, onDone, beside }: PasswordFormProps) {
  const client = useQueryClient();
  const [complaint, setComplaint] = useState<string>();
  const save = useMutation({
    mutationFn: calls.setPassword,
    onSuccess: async () => {
      await client.invalidateQueries({ queryKey: ['me'] });
      onDone();
    },
  });
  const submit = (event: FormEvent<HTMLFormElement>) => {
    event.preventDefault();
    const form = new FormData(event.currentTarget);
    const password = String(form.get('password') ?? '');
    const current = String(form.get('current') ?? '');
    const found = complaintAbout(password, String(form.get('again') ?? ''));
    setComplaint(found);
    if (found === undefined) save.mutate({ password, ...(hasPassword ? { current } : {}) });
  };
  const toggle = { visibilityToggleButtonProps: { 'aria-label': 'Show or hide the password' } };
  return (
    <form onSubmit={submit}>
      <Stack>
        {hasPassword && (
          <PasswordInput name="current" label="Password now" autoComplete="current-password" required {...toggle} />
        )}
        <PasswordInput
          name="password"
          label="New password"
          description={`At least ${MIN_LENGTH} characters.`}
          autoComplete="new-password"
          required
          error={complaint}
          {...toggle}
        />
        <PasswordInput name="again" label="Once more" autoComplete="new-password" required {...toggle} />
        {save.error !== null && <ProblemNote error={save.error} />}
        <Group justify="flex-end">
          {beside}
          <Button type="submit" loading={save.isPending}>
            Set password
          </Button>
        </Group>
      </Stack>
    </form>
  );
}

function complaintAbout(password: string, again: string): string | undefined {
  if (password.length < MIN_LENGTH) return `That has ${password.length} characters; ${MIN_LENGTH} are needed.`;
  return password === again ? undefined : 'The two are not the same.';
}
