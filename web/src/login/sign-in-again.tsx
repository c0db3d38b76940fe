import { Modal, Text } from '@mantine/core';
import { useSignal } from '../parts/signal-store.ts';
import { loginLost } from './login-state.ts';
import { SignInForm } from './sign-in-form.tsx';

/** On top of the page when the login has ended: uploads stay where they are and go on afterwards. */
export function SignInAgain({ onDone }: { readonly onDone: () => void }) {
  const lost = useSignal(loginLost);
  return (
    <Modal opened={lost} onClose={() => {}} withCloseButton={false} closeOnEscape={false} title="Please sign in again">
      <Text size="sm" mb="md">
        Your login has ended. Nothing is lost: uploads of this page wait and go on once you are signed in.
      </Text>
      <SignInForm onDone={onDone} />
    </Modal>
  );
}
