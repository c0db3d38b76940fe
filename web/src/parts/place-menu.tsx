import { Button, Menu } from '@mantine/core';
import { IconDots } from '@tabler/icons-react';
import type { ReactNode } from 'react';

/** The button behind which the actions on one thing wait. */
export function PlaceMenu({ label, children }: { readonly label: string; readonly children: ReactNode }) {
  return (
    // In its place in the page, so that it lies in the landmark of what it acts on.
    <Menu position="bottom-end" withArrow withinPortal={false} withInitialFocusPlaceholder={false}>
      <Menu.Target>
        <Button variant="default" px="sm" size="xs" aria-label={label}>
          <IconDots size={18} aria-hidden="true" />
        </Button>
      </Menu.Target>
      <Menu.Dropdown>{children}</Menu.Dropdown>
    </Menu>
  );
}
