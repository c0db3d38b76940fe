import { ActionIcon, Button, Group, NativeSelect, Stack, Text, TextInput, Tooltip } from '@mantine/core';
import { IconFileUpload, IconTrash } from '@tabler/icons-react';
import { type FormEvent, useEffect, useRef, useState } from 'react';
import { imageFormats } from '../../../src/core/formats.ts';
import type { DeclaredFormat } from '../../../src/core/nouns.ts';
import { anyPlace, isPlacement } from '../images/placement-fields.tsx';
import { formatBytes } from '../parts/numbers.ts';
import { useSignal } from '../parts/signal-store.ts';
import { createDialog } from './create-dialog.ts';
import { PlacementPart } from './placement-part.tsx';
import { uploadBoard } from './upload-board.ts';
import { digestComplaint, wishedDigest } from './wished-digest.ts';

interface Draft {
  readonly name?: string;
  readonly format?: DeclaredFormat;
  readonly digest?: string;
}

/** Upload from local: pick or drop, look at the names, go. */
export function CreateImageForm({ onClose }: { readonly onClose: () => void }) {
  const dialog = useSignal(createDialog);
  const { files, again } = dialog;
  const [drafts, setDrafts] = useState<ReadonlyMap<File, Draft>>(new Map());
  const draftOf = (file: File): Draft => drafts.get(file) ?? {};
  const change = (file: File, part: Draft) => setDrafts(new Map(drafts).set(file, { ...draftOf(file), ...part }));
  const setFiles = (next: readonly File[]) => createDialog.set({ ...dialog, files: again ? next.slice(-1) : next });
  const [placement, setPlacement] = useState(anyPlace);
  const [storeId, setStoreId] = useState<string>();
  const bad =
    !isPlacement(placement) ||
    files.some((file) => digestComplaint(draftOf(file).digest) !== undefined || draftOf(file).name?.trim() === '');

  const form = useRef<HTMLFormElement>(null);
  const chosen = files.length > 0;
  // biome-ignore lint/correctness/useExhaustiveDependencies: the field that matters changes once a file is chosen
  useEffect(() => form.current?.querySelector<HTMLElement>('.h-drop, input[name="image-name"]')?.focus(), [chosen]);

  const submit = (event: FormEvent) => {
    event.preventDefault();
    if (bad) return;
    for (const file of files) {
      const { name, format = 'auto', digest } = draftOf(file);
      const wanted = again?.name ?? name?.trim() ?? file.name;
      const wish = { name: wanted, format, digest: wishedDigest(digest), imageId: again?.imageId };
      uploadBoard.add(file, again === undefined ? { ...wish, placement, storeId } : wish);
    }
    onClose();
  };
  return (
    <form ref={form} onSubmit={submit}>
      <Stack>
        <FilePick
          several={again === undefined}
          compact={files.length > 0}
          onFiles={(more) => setFiles([...files, ...more])}
        />
        {files.map((file) => (
          <FileCard
            key={keyOf(file)}
            file={file}
            draft={draftOf(file)}
            fixedName={again?.name}
            onChange={(part) => change(file, part)}
            onRemove={() => setFiles(files.filter((other) => other !== file))}
          />
        ))}
        {chosen && again === undefined && (
          <PlacementPart placement={placement} onPlacement={setPlacement} storeId={storeId} onStore={setStoreId} />
        )}
        <Group justify="space-between">
          <Text size="sm" c="dimmed" role="status">
            {files.length === 0
              ? 'Nothing chosen yet.'
              : `${formatBytes(files.reduce((sum, file) => sum + file.size, 0))} in all`}
          </Text>
          <Group>
            <Button variant="default" onClick={onClose}>
              Cancel
            </Button>
            <Button type="submit" disabled={files.length === 0 || bad}>
              {files.length > 1 ? `Upload ${files.length} images` : 'Upload'}
            </Button>
          </Group>
        </Group>
      </Stack>
    </form>
  );
}

interface FilePickProps {
  readonly several: boolean;
  readonly compact: boolean;
  readonly onFiles: (files: readonly File[]) => void;
}

function FilePick({ several, compact, onFiles }: FilePickProps) {
  const input = useRef<HTMLInputElement>(null);
  const pick = () => input.current?.click();
  return (
    <>
      <input
        ref={input}
        type="file"
        multiple={several}
        hidden
        aria-label="Files to upload"
        data-testid="file-input"
        onChange={(event) => {
          onFiles([...(event.currentTarget.files ?? [])]);
          event.currentTarget.value = '';
        }}
      />
      {compact ? (
        <Group>
          <Button
            variant="default"
            size="xs"
            leftSection={<IconFileUpload size={16} aria-hidden="true" />}
            onClick={pick}
          >
            {several ? 'Add another file' : 'Choose another file'}
          </Button>
        </Group>
      ) : (
        <button type="button" className="h-drop" onClick={pick} data-autofocus>
          <IconFileUpload size={36} color="var(--h-data)" aria-hidden="true" />
          <Text fw={600} component="span">
            {several ? 'Choose image files, or drop them here' : 'Choose the file, or drop it here'}
          </Text>
          <Text size="sm" c="dimmed" component="span">
            raw, qcow2, vmdk, vhd, vhdx, vdi, iso … of any size. It goes on after a break.
          </Text>
        </button>
      )}
    </>
  );
}

interface FileCardProps {
  readonly file: File;
  readonly draft: Draft;
  readonly fixedName: string | undefined;
  readonly onChange: (part: Draft) => void;
  readonly onRemove: () => void;
}

function FileCard({ file, draft, fixedName, onChange, onRemove }: FileCardProps) {
  return (
    <Stack className="h-card" p="md" gap="sm">
      <Group justify="space-between" wrap="nowrap">
        <Text size="sm" c="dimmed" className="h-break">
          {file.name} · {formatBytes(file.size)}
        </Text>
        <Tooltip label="Leave this file out">
          <ActionIcon
            variant="subtle"
            color="gray"
            c="var(--mantine-color-text)"
            aria-label={`Leave out ${file.name}`}
            onClick={onRemove}
          >
            <IconTrash size={18} aria-hidden="true" />
          </ActionIcon>
        </Tooltip>
      </Group>
      {fixedName === undefined && (
        <TextInput
          label="Name"
          name="image-name"
          value={draft.name ?? file.name}
          onChange={(event) => onChange({ name: event.currentTarget.value })}
          maxLength={255}
          error={draft.name?.trim() === '' ? 'A name is needed.' : undefined}
        />
      )}
      <Group grow align="flex-start" preventGrowOverflow={false} wrap="wrap">
        <NativeSelect
          label="Format"
          value={draft.format ?? 'auto'}
          onChange={(event) => onChange({ format: formatOf(event.currentTarget.value) })}
          data={[{ value: 'auto', label: 'Automatic: what the file says' }, ...imageFormats]}
        />
        <TextInput
          label="Expected digest (optional)"
          placeholder="sha256:… or the 64 digits"
          value={draft.digest ?? ''}
          onChange={(event) => onChange({ digest: event.currentTarget.value })}
          error={digestComplaint(draft.digest)}
        />
      </Group>
    </Stack>
  );
}

function formatOf(value: string): DeclaredFormat {
  return imageFormats.find((format) => format === value) ?? 'auto';
}

const keys = new WeakMap<File, string>();
let made = 0;

/** Two files may have the same name and size. */
function keyOf(file: File): string {
  const key = keys.get(file) ?? `file-${made++}`;
  keys.set(file, key);
  return key;
}
