import { Button, Group, Text } from '@mantine/core';
import { useMutation, useQueryClient } from '@tanstack/react-query';
import { useRef, useState } from 'react';
import type { UploadResource } from '../../../src/contract/api/upload.ts';
import { calls } from '../api/calls.ts';
import { Bar } from '../parts/bar.tsx';
import { Confirm } from '../parts/confirm.tsx';
import { formatBytes, percent } from '../parts/numbers.ts';
import { fileNameOf } from './fingerprint.ts';
import classes from './tray.module.css';
import { uploadBoard } from './upload-board.ts';

/** An Upload that was interrupted, by a reload say: the browser needs its file once more. */
export function WaitingItem({ upload }: { readonly upload: UploadResource }) {
  const input = useRef<HTMLInputElement>(null);
  const [asking, setAsking] = useState(false);
  const client = useQueryClient();
  const cancel = useMutation({
    mutationFn: () => calls.cancelUpload(upload.id),
    onSuccess: () => client.invalidateQueries(),
  });
  const share = percent(upload.receivedBytes, upload.declaredSize);
  return (
    <li className={classes.item} data-phase="waiting-for-file">
      <Text size="sm" fw={600} truncate title={upload.name}>
        {upload.name}
      </Text>
      <Bar label={`Upload of ${upload.name}`} done={upload.receivedBytes} total={upload.declaredSize} tone="wait" />
      <Text size="sm" mt={4} className="h-break">
        Waiting for the file: drop <b>{fileNameOf(upload)}</b> again. {share === undefined ? '' : `${share} % `}(
        {formatBytes(upload.receivedBytes)}) is here already and need not be sent again.
      </Text>
      <Group gap="xs" mt="xs">
        <input
          ref={input}
          type="file"
          hidden
          aria-label={`File of ${upload.name}`}
          onChange={(event) => {
            const file = event.currentTarget.files?.[0];
            if (file) uploadBoard.add(file, { name: upload.name, format: upload.format }, upload);
            event.currentTarget.value = '';
          }}
        />
        <Button size="xs" variant="default" onClick={() => input.current?.click()}>
          Choose the file
        </Button>
        <Button size="xs" variant="subtle" color="gray" c="var(--mantine-color-text)" onClick={() => setAsking(true)}>
          Give it up
        </Button>
      </Group>
      <Confirm
        opened={asking}
        title="Give this upload up?"
        action="Give it up"
        busy={cancel.isPending}
        onConfirm={() => cancel.mutate()}
        onClose={() => setAsking(false)}
      >
        The {formatBytes(upload.receivedBytes)} of <b>{upload.name}</b> that have arrived are thrown away.
      </Confirm>
    </li>
  );
}
