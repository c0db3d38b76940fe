import { Alert, Button, Code, PasswordInput, SegmentedControl, Stack, Text, TextInput } from '@mantine/core';
import { useMutation, useQueryClient } from '@tanstack/react-query';
import { type FormEvent, useState } from 'react';
import { isHawserError } from '../../../src/core/errors.ts';
import { calls } from '../api/calls.ts';
import { loginLost } from './login-state.ts';

type Way = 'token' | 'password';
const REMEMBERED_WAY = 'hawser-sign-in';

/** Signs in with a token or with user and password, and then reads everything anew. */
export function SignInForm({ onDone }: { readonly onDone?: () => void }) {
  const client = useQueryClient();
  const [way, setWay] = useState<Way>(() =>
    localStorage.getItem(REMEMBERED_WAY) === 'password' ? 'password' : 'token',
  );
  const signIn = useMutation({
    mutationFn: calls.signIn,
    onSuccess: async () => {
      localStorage.setItem(REMEMBERED_WAY, way);
      loginLost.set(false);
      await client.invalidateQueries();
      onDone?.();
    },
  });
  const submit = (event: FormEvent<HTMLFormElement>) => {
    event.preventDefault();
    const form = new FormData(event.currentTarget);
    const text = (field: string) => String(form.get(field) ?? '').trim();
    signIn.mutate(
      way === 'token' ? { token: text('token') } : { user: text('user'), password: String(form.get('password') ?? '') },
    );
  };
  return (
    <form onSubmit={submit}>
      <Stack gap="md">
        <SegmentedControl
          fullWidth
          aria-label="How to sign in"
          value={way}
          onChange={(value) => setWay(value === 'password' ? 'password' : 'token')}
          data={[
            { value: 'token', label: 'Token' },
            { value: 'password', label: 'User and password' },
          ]}
        />
        {way === 'token' ? <TokenField /> : <PasswordFields />}
        {signIn.error !== null && <Refusal error={signIn.error} />}
        <Button type="submit" size="md" loading={signIn.isPending} fullWidth>
          Sign in
        </Button>
      </Stack>
    </form>
  );
}

function TokenField() {
  return (
    <>
      <PasswordInput
        name="token"
        label="Admin token"
        description="An API token works as well."
        required
        withAsterisk={false}
        autoFocus
        autoComplete="off"
        visibilityToggleButtonProps={{ 'aria-label': 'Show or hide the token' }}
      />
      <Text size="sm" c="dimmed">
        Where is it? Hawser printed the place when it started: the file <Code>run/admin-token</Code> in its data folder.
        As an ordinary user that is
      </Text>
      <Code block style={{ whiteSpace: 'pre-wrap', overflowWrap: 'anywhere' }}>
        cat ~/.local/share/hawser/run/admin-token
      </Code>
      <Text size="sm" c="dimmed">
        and as root <Code>/var/lib/hawser/run/admin-token</Code>.
      </Text>
    </>
  );
}

function PasswordFields() {
  return (
    <>
      <TextInput name="user" label="User" defaultValue="admin" required withAsterisk={false} autoComplete="username" />
      <PasswordInput
        name="password"
        label="Password"
        required
        withAsterisk={false}
        autoFocus
        autoComplete="current-password"
        visibilityToggleButtonProps={{ 'aria-label': 'Show or hide the password' }}
      />
    </>
  );
}

function Refusal({ error }: { readonly error: Error }) {
  const text = isHawserError(error, 'unauthenticated')
    ? 'That did not match. Copy the whole token without spaces, or check user and password.'
    : error.message;
  return (
    <Alert role="alert" variant="default" title="Not signed in">
      {text}
    </Alert>
  );
}
