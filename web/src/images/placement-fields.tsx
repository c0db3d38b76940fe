import { NumberInput, Stack } from '@mantine/core';
import type { ImageResource } from '../../../src/contract/api/image.ts';
import { areTags, TagsField } from '../parts/tags.tsx';

export type Placement = ImageResource['placement'];

interface PlacementFieldsProps {
  readonly value: Placement;
  readonly onChange: (placement: Placement) => void;
}

/** How many Copies there shall be, and where. */
export function PlacementFields({ value, onChange }: PlacementFieldsProps) {
  return (
    <Stack gap="sm">
      <NumberInput
        label="Copies at least"
        description="Hawser makes the ones that are missing by itself."
        min={1}
        max={20}
        allowDecimal={false}
        clampBehavior="strict"
        value={value.minCopies}
        onChange={(count) => onChange({ ...value, minCopies: typeof count === 'number' ? Math.max(1, count) : 1 })}
        maw={220}
      />
      <TagsField
        label="Only on Stores with these tags"
        value={value.storeTags}
        onChange={(storeTags) => onChange({ ...value, storeTags: [...storeTags] })}
      />
      <TagsField
        label="Only on hosts with these tags"
        value={value.hostTags}
        onChange={(hostTags) => onChange({ ...value, hostTags: [...hostTags] })}
      />
    </Stack>
  );
}

export const anyPlace: Placement = { minCopies: 1, storeTags: [], hostTags: [] };

export function isPlacement({ hostTags, storeTags }: Placement): boolean {
  return areTags(hostTags) && areTags(storeTags);
}
