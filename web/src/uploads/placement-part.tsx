import { Button, Collapse, Stack } from '@mantine/core';
import { IconChevronDown, IconChevronRight } from '@tabler/icons-react';
import { useState } from 'react';
import { type Placement, PlacementFields } from '../images/placement-fields.tsx';
import { StoreSelect } from '../stores/store-select.tsx';

interface PlacementPartProps {
  readonly placement: Placement;
  readonly onPlacement: (placement: Placement) => void;
  readonly storeId: string | undefined;
  readonly onStore: (storeId: string | undefined) => void;
}

/** What most people leave as it is. */
export function PlacementPart({ placement, onPlacement, storeId, onStore }: PlacementPartProps) {
  const [open, setOpen] = useState(false);
  const Icon = open ? IconChevronDown : IconChevronRight;
  return (
    <div>
      <Button
        variant="subtle"
        size="compact-sm"
        aria-expanded={open}
        leftSection={<Icon size={16} aria-hidden="true" />}
        onClick={() => setOpen(!open)}
      >
        How many copies, and where
      </Button>
      <Collapse expanded={open}>
        <Stack gap="sm" pt="sm">
          <StoreSelect value={storeId} onChange={onStore} />
          <PlacementFields value={placement} onChange={onPlacement} />
        </Stack>
      </Collapse>
    </div>
  );
}
