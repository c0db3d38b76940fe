import { Button, Menu } from '@mantine/core';
import { IconKey, IconLogout, IconUserCircle } from '@tabler/icons-react';
import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query';
import { useNavigate } from '@tanstack/react-router';
import { calls } from '../api/calls.ts';
import { queries } from '../api/queries.ts';
import { uploadBoard } from '../uploads/upload-board.ts';

export function UserMenu() {
  const me = useQuery(queries.me()).data;
  const client = useQueryClient();
  const navigate = useNavigate();
  const signOut = useMutation({
    mutationFn: async () => {
      uploadBoard.stopAll();
      await calls.signOut();
    },
    onSuccess: () => {
      client.clear();
      location.reload();
    },
  });
  return (
    <Menu position="bottom-end" withArrow>
      <Menu.Target>
        <Button
          variant="subtle"
          color="gray"
          c="var(--mantine-color-text)"
          px="xs"
          leftSection={<IconUserCircle size={20} aria-hidden="true" />}
          aria-label={`User ${me?.user ?? ''}`}
        >
          {me?.user}
        </Button>
      </Menu.Target>
      <Menu.Dropdown>
        <Menu.Label>Hawser {me?.version}</Menu.Label>
        <Menu.Item
          leftSection={<IconKey size={16} aria-hidden="true" />}
          onClick={() => void navigate({ to: '/access' })}
        >
          Tokens and password
        </Menu.Item>
        <Menu.Item leftSection={<IconLogout size={16} aria-hidden="true" />} onClick={() => signOut.mutate()}>
          Sign out
        </Menu.Item>
      </Menu.Dropdown>
    </Menu>
  );
}
