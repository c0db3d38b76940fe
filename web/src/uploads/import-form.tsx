import { Button, Checkbox, Group, NativeSelect, Stack, Text, TextInput } from '@mantine/core';
import { type FormEvent, useState } from 'react';
import { nameFromUrl } from '../../../src/client/url-text.ts';
import { imageFormats } from '../../../src/core/formats.ts';
import type { DeclaredFormat } from '../../../src/core/nouns.ts';
import { anyPlace, isPlacement } from '../images/placement-fields.tsx';
import { ProblemNote } from '../parts/problem-note.tsx';
import { NameField } from './name-field.tsx';
import { PlacementPart } from './placement-part.tsx';
import { useCreate } from './use-create.ts';
import { digestComplaint, wishedDigest } from './wished-digest.ts';

/** From a URL: a host fetches it, this computer may be switched off meanwhile. */
export function ImportForm({ onClose }: { readonly onClose: () => void }) {
  const [url, setUrl] = useState('');
  const [name, setName] = useState<string>();
  const [format, setFormat] = useState<DeclaredFormat>('auto');
  const [digest, setDigest] = useState('');
  const [unpack, setUnpack] = useState(false);
  const [placement, setPlacement] = useState(anyPlace);
  const [storeId, setStoreId] = useState<string>();
  const create = useCreate(onClose);
  const shownName = name ?? nameFromUrl(url, { unpack });
  const complaint = urlComplaint(url);
  const bad = complaint !== undefined || digestComplaint(digest) !== undefined || !isPlacement(placement);
  const submit = (event: FormEvent) => {
    event.preventDefault();
    const wanted = wishedDigest(digest);
    create.mutate({
      name: shownName.trim(),
      origin: { kind: 'download', url: url.trim(), decompress: unpack ? 'auto' : 'none' },
      format,
      placement: { ...placement },
      ...(wanted === undefined ? {} : { digest: wanted }),
      ...(storeId === undefined ? {} : { storeId }),
    });
  };
  return (
    <form onSubmit={submit}>
      <Stack>
        <TextInput
          label="URL"
          type="text"
          inputMode="url"
          placeholder="https://cloud.example/images/debian-13.qcow2"
          description="A host of Hawser fetches it, and goes on by itself after a break."
          value={url}
          onChange={(event) => setUrl(event.currentTarget.value)}
          error={url.trim() === '' ? undefined : complaint}
          required
          withAsterisk={false}
          maxLength={4000}
          data-autofocus
        />
        <NameField label="Name" name={shownName} onName={setName} />
        <Checkbox
          label="Unpack gzip, xz or zstd on the way"
          description="Told by the first bytes; what is not packed stays as it is."
          checked={unpack}
          onChange={(event) => setUnpack(event.currentTarget.checked)}
        />
        <FormatAndDigest format={format} onFormat={setFormat} digest={digest} onDigest={setDigest} />
        {unpack && wishedDigest(digest) !== undefined && (
          <Text size="sm" c="dimmed">
            The digest is that of the unpacked content.
          </Text>
        )}
        <PlacementPart placement={placement} onPlacement={setPlacement} storeId={storeId} onStore={setStoreId} />
        {create.error !== null && <ProblemNote error={create.error} />}
        <Group justify="flex-end">
          <Button variant="default" onClick={onClose}>
            Cancel
          </Button>
          <Button type="submit" disabled={bad || shownName.trim() === ''} loading={create.isPending}>
            Download it
          </Button>
        </Group>
      </Stack>
    </form>
  );
}

interface FormatAndDigestProps {
  readonly format: DeclaredFormat;
  readonly onFormat: (format: DeclaredFormat) => void;
  readonly digest: string;
  readonly onDigest: (digest: string) => void;
}

function FormatAndDigest({ format, onFormat, digest, onDigest }: FormatAndDigestProps) {
  return (
    <Group grow align="flex-start" preventGrowOverflow={false} wrap="wrap">
      <NativeSelect
        label="Format"
        value={format}
        onChange={(event) => onFormat(imageFormats.find((each) => each === event.currentTarget.value) ?? 'auto')}
        data={[{ value: 'auto', label: 'Automatic: what the file says' }, ...imageFormats]}
      />
      <TextInput
        label="Expected digest (optional)"
        placeholder="sha256:… or the 64 digits"
        value={digest}
        onChange={(event) => onDigest(event.currentTarget.value)}
        error={digestComplaint(digest)}
      />
    </Group>
  );
}

function urlComplaint(text: string): string | undefined {
  const url = text.trim();
  return /^https?:\/\/./i.test(url) && URL.canParse(url) ? undefined : 'A URL here begins with http:// or https://.';
}
