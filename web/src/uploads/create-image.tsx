import { Modal } from '@mantine/core';
import { lazy, Suspense } from 'react';
import { useSignal } from '../parts/signal-store.ts';
import { createDialog } from './create-dialog.ts';

const CreateWays = lazy(() => import('./create-ways.tsx').then((m) => ({ default: m.CreateWays })));

/** "Create image": from files of this computer, from a URL, from another Image. */
export function CreateImage() {
  const { opened, again } = useSignal(createDialog);
  const close = () => createDialog.set({ opened: false, files: [] });
  return (
    <Modal
      opened={opened}
      onClose={close}
      title={again ? `Upload ${again.name} again` : 'Create image'}
      size="lg"
      closeButtonProps={{ 'aria-label': 'Close' }}
    >
      <Suspense fallback={null}>
        <CreateWays onClose={close} />
      </Suspense>
    </Modal>
  );
}
