import { Button, Group, Modal, Stack, TagsInput, Text } from '@mantine/core';
import { useMutation } from '@tanstack/react-query';
import { type FormEvent, useState } from 'react';
import { ProblemNote } from './problem-note.tsx';

/** As src/contract/api/host.ts has it. */
const wanted = /^[A-Za-z0-9][A-Za-z0-9._=-]{0,62}$/;

/** Tags as quiet labels. */
export function Tags({ tags }: { readonly tags: readonly string[] }) {
  if (tags.length === 0) return null;
  return (
    <Group component="ul" gap={6} p={0} m={0} style={{ listStyle: 'none' }} aria-label="Tags">
      {tags.map((tag) => (
        <li key={tag} className="h-tag">
          {tag}
        </li>
      ))}
    </Group>
  );
}

interface TagsFieldProps {
  readonly label: string;
  readonly description?: string;
  readonly value: readonly string[];
  readonly onChange: (tags: readonly string[]) => void;
}

export function TagsField({ label, description, value, onChange }: TagsFieldProps) {
  const bad = value.find((tag) => !wanted.test(tag));
  return (
    <TagsInput
      label={label}
      description={description}
      value={[...value]}
      onChange={onChange}
      maxTags={32}
      acceptValueOnBlur
      placeholder={value.length === 0 ? 'none; type one and press Enter' : undefined}
      splitChars={[',', ' ']}
      error={bad === undefined ? undefined : `“${bad}” has other signs than letters, digits and . _ = -`}
    />
  );
}

export function areTags(tags: readonly string[]): boolean {
  return tags.every((tag) => wanted.test(tag));
}

interface TagsDialogProps {
  readonly opened: boolean;
  readonly title: string;
  readonly tags: readonly string[];
  readonly save: (tags: readonly string[]) => Promise<unknown>;
  readonly onClose: () => void;
}

/** Edits all tags of one thing at once. */
export function TagsDialog({ opened, title, onClose, ...rest }: TagsDialogProps) {
  return (
    <Modal opened={opened} onClose={onClose} title={title} closeButtonProps={{ 'aria-label': 'Close' }}>
      <TagsForm {...rest} onClose={onClose} />
    </Modal>
  );
}

function TagsForm({ tags, save, onClose }: Pick<TagsDialogProps, 'tags' | 'save' | 'onClose'>) {
  const [draft, setDraft] = useState(tags);
  const saving = useMutation({ mutationFn: save, onSuccess: onClose });
  const submit = (event: FormEvent) => {
    event.preventDefault();
    saving.mutate(draft);
  };
  return (
    <form onSubmit={submit}>
      <Stack>
        <Text size="sm" c="dimmed">
          Images can ask for places that carry all of certain tags, such as ssd or row-2.
        </Text>
        <TagsField label="Tags" value={draft} onChange={setDraft} />
        {saving.error !== null && <ProblemNote error={saving.error} />}
        <Group justify="flex-end">
          <Button variant="default" onClick={onClose}>
            Cancel
          </Button>
          <Button type="submit" loading={saving.isPending} disabled={!areTags(draft)}>
            Save
          </Button>
        </Group>
      </Stack>
    </form>
  );
}
