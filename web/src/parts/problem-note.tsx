import { Alert, Button, Group, Text } from '@mantine/core';
import { IconAlertTriangle } from '@tabler/icons-react';
import { errorCatalogue, toHawserError } from '../../../src/core/errors.ts';

interface ProblemNoteProps {
  readonly error: unknown;
  readonly onRetry?: (() => void) | undefined;
}

/** What went wrong, what to do next, and the number to quote. */
export function ProblemNote({ error, onRetry }: ProblemNoteProps) {
  const known = toHawserError(error);
  const { next, requestId } = known.details;
  return (
    <Alert
      variant="default"
      role="alert"
      icon={<IconAlertTriangle color="var(--h-bad)" aria-hidden="true" />}
      title={errorCatalogue[known.code].title}
    >
      <Text size="sm" className="h-break">
        {known.message}
      </Text>
      {typeof next === 'string' && (
        <Text size="sm" mt={4}>
          <b>Next:</b> {next}
        </Text>
      )}
      <Group mt="xs" gap="sm">
        {onRetry && (
          <Button size="xs" variant="default" onClick={onRetry}>
            Try again
          </Button>
        )}
        {typeof requestId === 'string' && (
          <Text size="xs" c="dimmed">
            Request {requestId}
          </Text>
        )}
      </Group>
    </Alert>
  );
}
