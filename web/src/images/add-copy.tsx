import { Button, Group, Modal, Stack, Text } from '@mantine/core';
import { useMutation, useQueryClient } from '@tanstack/react-query';
import { type FormEvent, useState } from 'react';
import type { ImageResource } from '../../../src/contract/api/image.ts';
import { calls } from '../api/calls.ts';
import { ProblemNote } from '../parts/problem-note.tsx';
import { StoreSelect } from '../stores/store-select.tsx';

interface AddCopyProps {
  readonly image: ImageResource;
  readonly opened: boolean;
  readonly onClose: () => void;
}

/** One more Copy now, where Hawser chooses or on a Store of one's own choice. */
export function AddCopy({ opened, onClose, image }: AddCopyProps) {
  return (
    <Modal opened={opened} onClose={onClose} title="Add a copy" closeButtonProps={{ 'aria-label': 'Close' }}>
      <AddCopyForm image={image} onClose={onClose} />
    </Modal>
  );
}

function AddCopyForm({ image, onClose }: Omit<AddCopyProps, 'opened'>) {
  const [storeId, setStoreId] = useState<string>();
  const client = useQueryClient();
  const add = useMutation({
    mutationFn: () => calls.addCopy(image.id, storeId),
    onSuccess: async () => {
      onClose();
      await client.invalidateQueries({ refetchType: 'active' });
    },
  });
  const submit = (event: FormEvent) => {
    event.preventDefault();
    add.mutate();
  };
  return (
    <form onSubmit={submit}>
      <Stack>
        <Text size="sm" c="dimmed">
          The hosts copy it among themselves, only what is data, and compare each block.
        </Text>
        <StoreSelect
          value={storeId}
          onChange={setStoreId}
          without={image.copies.filter(({ state }) => state !== 'removed').map((copy) => copy.storeId)}
        />
        {add.error !== null && <ProblemNote error={add.error} />}
        <Group justify="flex-end">
          <Button variant="default" onClick={onClose}>
            Cancel
          </Button>
          <Button type="submit" loading={add.isPending}>
            Add the copy
          </Button>
        </Group>
      </Stack>
    </form>
  );
}
