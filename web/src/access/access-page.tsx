import { Stack, Text } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { useState } from 'react';
import { queries } from '../api/queries.ts';
import { PasswordForm } from '../login/password-form.tsx';
import { PageHead } from '../parts/page-head.tsx';
import { Section } from '../parts/section.tsx';
import { TokensSection } from './tokens-section.tsx';

/** Who may act in this user's name: tokens for programs, a password for the person. */
export function AccessPage() {
  const me = useQuery(queries.me()).data;
  const [round, setRound] = useState(0);
  return (
    <>
      <PageHead title="Access" />
      <Stack gap="md">
        <TokensSection />
        <Section title={me?.hasPassword ? 'Change the password' : 'Set a password'}>
          <Stack maw={420} gap="sm">
            <Text size="sm" c="dimmed">
              You are <b>{me?.user}</b> ({me?.role}).
            </Text>
            <PasswordForm key={round} hasPassword={me?.hasPassword ?? false} onDone={() => setRound(round + 1)} />
            <Text size="sm" role="status">
              {round > 0 && 'The new password counts from now on.'}
            </Text>
          </Stack>
        </Section>
      </Stack>
    </>
  );
}
