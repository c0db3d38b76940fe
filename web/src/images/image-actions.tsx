import { Button, Group, Menu } from '@mantine/core';
import { IconCopy, IconDots, IconDownload, IconPencil, IconShieldCheck, IconTrash } from '@tabler/icons-react';
import { useMutation, useQueryClient } from '@tanstack/react-query';
import { useNavigate } from '@tanstack/react-router';
import { useState } from 'react';
import type { ImageResource } from '../../../src/contract/api/image.ts';
import { calls } from '../api/calls.ts';
import { apiPath } from '../api/http.ts';
import { complain } from '../parts/complain.ts';
import { Confirm } from '../parts/confirm.tsx';
import { openCloneDialog } from '../uploads/create-dialog.ts';
import { RenameDialog } from './rename-dialog.tsx';

export function ImageActions({ image }: { readonly image: ImageResource }) {
  const [dialog, setDialog] = useState<'rename' | 'delete'>();
  const navigate = useNavigate();
  const client = useQueryClient();
  const verify = useMutation({
    mutationFn: () => calls.verifyImage(image.id),
    onSuccess: (task) => void navigate({ to: '/tasks', search: { task: task.id } }),
    onError: complain,
  });
  const remove = useMutation({
    mutationFn: () => calls.removeImage(image.id),
    onSuccess: async () => {
      setDialog(undefined);
      await navigate({ to: '/images', search: {} });
      await client.invalidateQueries({ queryKey: ['images'] });
    },
    onError: complain,
  });
  const ready = image.state === 'ready';
  return (
    <Group gap="xs">
      {ready && (
        <>
          <Button
            component="a"
            href={apiPath(`/images/${image.id}/data`, { filename: image.name })}
            download={image.name}
            leftSection={<IconDownload size={18} aria-hidden="true" />}
          >
            Download
          </Button>
          <Button
            variant="default"
            leftSection={<IconShieldCheck size={18} aria-hidden="true" />}
            loading={verify.isPending}
            onClick={() => verify.mutate()}
          >
            Verify
          </Button>
        </>
      )}
      <Menu position="bottom-end" withArrow>
        <Menu.Target>
          <Button variant="default" px="sm" aria-label="More actions">
            <IconDots size={18} aria-hidden="true" />
          </Button>
        </Menu.Target>
        <Menu.Dropdown>
          <Menu.Item leftSection={<IconPencil size={16} aria-hidden="true" />} onClick={() => setDialog('rename')}>
            Rename
          </Menu.Item>
          {ready && (
            <Menu.Item
              leftSection={<IconCopy size={16} aria-hidden="true" />}
              onClick={() => openCloneDialog({ imageId: image.id, name: image.name })}
            >
              Clone
            </Menu.Item>
          )}
          <Menu.Item leftSection={<IconTrash size={16} aria-hidden="true" />} onClick={() => setDialog('delete')}>
            Delete
          </Menu.Item>
        </Menu.Dropdown>
      </Menu>
      <RenameDialog image={image} opened={dialog === 'rename'} onClose={() => setDialog(undefined)} />
      <Confirm
        opened={dialog === 'delete'}
        title="Delete this Image?"
        action="Delete"
        busy={remove.isPending}
        onConfirm={() => remove.mutate()}
        onClose={() => setDialog(undefined)}
      >
        <b>{image.name}</b> and all its Copies are removed. This cannot be undone.
      </Confirm>
    </Group>
  );
}
