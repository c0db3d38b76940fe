import { Button, Group, Modal, Text } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { useState } from 'react';
import { queries } from '../api/queries.ts';
import { passwordOfferWasSkipped, skipPasswordOffer } from './login-state.ts';
import { PasswordForm } from './password-form.tsx';

/** After the first login: a password is easier to remember than a token. It can be skipped. */
export function PasswordOffer() {
  const me = useQuery(queries.me()).data;
  const [closed, setClosed] = useState(false);
  if (me === undefined) return null;
  const wanted = !me.hasPassword && !closed && !passwordOfferWasSkipped(me.user);
  const skip = () => {
    skipPasswordOffer(me.user);
    setClosed(true);
  };
  return (
    <Modal
      opened={wanted}
      onClose={skip}
      title="Welcome aboard. Set a password?"
      closeButtonProps={{ 'aria-label': 'Close' }}
    >
      <Text size="sm" mb="md">
        You are signed in as <b>{me.user}</b>. With a password you need not look for the token next time.
      </Text>
      <PasswordForm
        hasPassword={false}
        onDone={() => setClosed(true)}
        beside={
          <Group>
            <Button variant="default" onClick={skip}>
              Not now
            </Button>
          </Group>
        }
      />
    </Modal>
  );
}
