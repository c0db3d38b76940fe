import { Button, Group, Modal, Stack, TextInput } from '@mantine/core';
import { useMutation, useQueryClient } from '@tanstack/react-query';
import type { FormEvent } from 'react';
import type { ImageResource } from '../../../src/contract/api/image.ts';
import { calls } from '../api/calls.ts';
import { ProblemNote } from '../parts/problem-note.tsx';

interface RenameDialogProps {
  readonly image: ImageResource;
  readonly opened: boolean;
  readonly onClose: () => void;
}

export function RenameDialog({ image, opened, onClose }: RenameDialogProps) {
  const client = useQueryClient();
  const rename = useMutation({
    mutationFn: (name: string) => calls.changeImage(image.id, { name }),
    onSuccess: async (renamed) => {
      client.setQueryData(['image', image.id], renamed);
      onClose();
      await client.invalidateQueries({ queryKey: ['images'] });
    },
  });
  const submit = (event: FormEvent<HTMLFormElement>) => {
    event.preventDefault();
    rename.mutate(String(new FormData(event.currentTarget).get('name') ?? ''));
  };
  return (
    <Modal opened={opened} onClose={onClose} title="Rename" closeButtonProps={{ 'aria-label': 'Close' }}>
      <form onSubmit={submit}>
        <Stack>
          <TextInput name="name" label="Name" defaultValue={image.name} required maxLength={255} data-autofocus />
          {rename.error !== null && <ProblemNote error={rename.error} />}
          <Group justify="flex-end">
            <Button variant="default" onClick={onClose}>
              Cancel
            </Button>
            <Button type="submit" loading={rename.isPending}>
              Rename
            </Button>
          </Group>
        </Stack>
      </form>
    </Modal>
  );
}
