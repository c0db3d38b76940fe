import { Tabs } from '@mantine/core';
import { IconCopy, IconFileUpload, IconWorldDownload } from '@tabler/icons-react';
import { useState } from 'react';
import { useSignal } from '../parts/signal-store.ts';
import { CloneForm } from './clone-form.tsx';
import { createDialog } from './create-dialog.ts';
import { CreateImageForm } from './create-image-form.tsx';
import { ImportForm } from './import-form.tsx';

/** The ways to make an Image. One that failed is filled again from a file only. */
export function CreateWays({ onClose }: { readonly onClose: () => void }) {
  const { again, files, from, way: asked } = useSignal(createDialog);
  const [chosen, setChosen] = useState<string | null>(null);
  if (again !== undefined) return <CreateImageForm onClose={onClose} />;
  // Files that are dropped while another way is open are meant.
  const way = files.length > 0 ? 'file' : (chosen ?? asked ?? 'file');
  return (
    <Tabs value={way} onChange={setChosen} keepMounted={false}>
      <Tabs.List mb="md" aria-label="Where it comes from">
        <Tabs.Tab value="file" leftSection={<IconFileUpload size={16} aria-hidden="true" />}>
          From a file
        </Tabs.Tab>
        <Tabs.Tab
          value="url"
          disabled={files.length > 0}
          leftSection={<IconWorldDownload size={16} aria-hidden="true" />}
        >
          From a URL
        </Tabs.Tab>
        <Tabs.Tab value="clone" disabled={files.length > 0} leftSection={<IconCopy size={16} aria-hidden="true" />}>
          Clone
        </Tabs.Tab>
      </Tabs.List>
      <Tabs.Panel value="file">
        <CreateImageForm onClose={onClose} />
      </Tabs.Panel>
      <Tabs.Panel value="url">
        <ImportForm onClose={onClose} />
      </Tabs.Panel>
      <Tabs.Panel value="clone">
        <CloneForm onClose={onClose} {...(from?.imageId === undefined ? {} : { of: from.imageId, name: from.name })} />
      </Tabs.Panel>
    </Tabs>
  );
}
