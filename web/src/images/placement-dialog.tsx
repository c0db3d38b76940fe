import { Button, Group, Modal, Stack, Text } from '@mantine/core';
import { useMutation, useQueryClient } from '@tanstack/react-query';
import { type FormEvent, useState } from 'react';
import type { ImageResource } from '../../../src/contract/api/image.ts';
import { calls } from '../api/calls.ts';
import { ProblemNote } from '../parts/problem-note.tsx';
import { isPlacement, PlacementFields } from './placement-fields.tsx';

interface PlacementDialogProps {
  readonly image: ImageResource;
  readonly opened: boolean;
  readonly onClose: () => void;
}

export function PlacementDialog({ image, opened, onClose }: PlacementDialogProps) {
  return (
    <Modal
      opened={opened}
      onClose={onClose}
      title="How many copies, and where"
      closeButtonProps={{ 'aria-label': 'Close' }}
    >
      <PlacementForm image={image} onClose={onClose} />
    </Modal>
  );
}

function PlacementForm({ image, onClose }: Omit<PlacementDialogProps, 'opened'>) {
  const [placement, setPlacement] = useState(image.placement);
  const client = useQueryClient();
  const save = useMutation({
    mutationFn: () => calls.changeImage(image.id, { placement }),
    onSuccess: (changed) => {
      client.setQueryData(['image', image.id], changed);
      onClose();
    },
  });
  const submit = (event: FormEvent) => {
    event.preventDefault();
    save.mutate();
  };
  return (
    <form onSubmit={submit}>
      <Stack>
        <PlacementFields value={placement} onChange={setPlacement} />
        <Text size="sm" c="dimmed">
          Copies that are there stay where they are; more are made where they are missing.
        </Text>
        {save.error !== null && <ProblemNote error={save.error} />}
        <Group justify="flex-end">
          <Button variant="default" onClick={onClose}>
            Cancel
          </Button>
          <Button type="submit" loading={save.isPending} disabled={!isPlacement(placement)}>
            Save
          </Button>
        </Group>
      </Stack>
    </form>
  );
}
