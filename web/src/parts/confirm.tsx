import { Box, Button, Group, Modal, Text } from '@mantine/core';
import type { ReactNode } from 'react';
import { ProblemNote } from './problem-note.tsx';

interface ConfirmProps {
  readonly opened: boolean;
  readonly title: string;
  readonly children: ReactNode;
  readonly action: string;
  readonly busy?: boolean;
  /** Something must be decided first. */
  readonly held?: boolean;
  /** `plain`: it can be taken back. */
  readonly tone?: 'danger' | 'plain';
  /** The safe answer. */
  readonly refusal?: string;
  /** Why it was not done. */
  readonly error?: Error | null;
  readonly onConfirm: () => void;
  readonly onClose: () => void;
}

/** Asks before something that cannot be undone, or that many will feel; the safe answer has the focus. */
export function Confirm(props: ConfirmProps) {
  const { opened, title, children, action, busy = false, held = false, tone = 'danger', refusal = 'Keep it' } = props;
  const { error = null, onConfirm, onClose } = props;
  return (
    <Modal opened={opened} onClose={onClose} title={title} closeButtonProps={{ 'aria-label': 'Close' }}>
      <Text component="div" size="sm">
        {children}
      </Text>
      {error !== null && (
        <Box mt="md">
          <ProblemNote error={error} />
        </Box>
      )}
      <Group justify="flex-end" mt="lg">
        <Button variant="default" onClick={onClose} data-autofocus>
          {refusal}
        </Button>
        <Button {...(tone === 'danger' ? { color: 'red.9' } : {})} onClick={onConfirm} loading={busy} disabled={held}>
          {action}
        </Button>
      </Group>
    </Modal>
  );
}
