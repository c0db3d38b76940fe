import { Text } from '@mantine/core';
import { notifications } from '@mantine/notifications';
import { IconAnchor } from '@tabler/icons-react';
import { useEffect, useRef, useState } from 'react';
import { createDialog, openCreateDialog, takeFiles } from './create-dialog.ts';
import { filesOf } from './files-of.ts';
import { useWaitingUploads } from './waiting-uploads.ts';

/** The whole page takes files; an overlay says so while they hover. */
export function DropAnywhere() {
  const [over, setOver] = useState(false);
  const waiting = useWaitingUploads();
  const latest = useRef(waiting);
  latest.current = waiting;
  useEffect(() => {
    const ending = new AbortController();
    const on = <K extends 'dragenter' | 'dragover' | 'dragleave' | 'drop'>(name: K, act: (event: DragEvent) => void) =>
      window.addEventListener(name, act, { signal: ending.signal });
    const take = (event: DragEvent) => {
      if (!event.dataTransfer?.types.includes('Files')) return;
      event.preventDefault();
      setOver(true);
    };
    on('dragenter', take);
    on('dragover', take);
    on('dragleave', (event) => {
      if (event.relatedTarget === null) setOver(false);
    });
    on('drop', (event) => {
      event.preventDefault();
      setOver(false);
      if (event.dataTransfer !== null) dropped(event.dataTransfer, latest.current);
    });
    return () => ending.abort();
  }, []);
  if (!over) return null;
  return (
    <div className="h-overlay">
      <div>
        <IconAnchor size={48} color="var(--h-data)" aria-hidden="true" />
        <Text size="xl" fw={700}>
          Drop it anywhere
        </Text>
        <Text c="dimmed">A new Image is offered; a file that was interrupted goes on.</Text>
      </div>
    </div>
  );
}

function dropped(transfer: DataTransfer, waiting: ReturnType<typeof useWaitingUploads>): void {
  const { files, folders } = filesOf(transfer);
  if (folders > 0) {
    notifications.show({
      title: 'Folders cannot be uploaded as an Image',
      message: 'Drop the image file that is inside, or pack the folder first.',
      color: 'red',
    });
  }
  if (files.length === 0) return;
  const open = createDialog.get();
  if (open.opened) openCreateDialog(open.again ? files.slice(0, 1) : [...open.files, ...files], open.again);
  else takeFiles(files, waiting);
}
