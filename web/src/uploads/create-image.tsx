import { Modal } from '@mantine/core';
import { lazy, Suspense } from 'react';
import { useSignal } from '../parts/signal-store.ts';
import { createDialog } from './create-dialog.ts';

const CreateImageForm = lazy(() => import('./create-image-form.tsx').then((m) => ({ default: m.CreateImageForm })));

/** "Create image": from files of this computer. */
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
        <CreateImageForm onClose={close} />
      </Suspense>
    </Modal>
  );
}
