import { Button, Collapse, Group, Paper, Stack, Text, UnstyledButton } from '@mantine/core';
import { useDisclosure, useElementSize } from '@mantine/hooks';
import { IconChevronDown, IconChevronUp } from '@tabler/icons-react';
import { useEffect, useState } from 'react';
import { Bar } from '../parts/bar.tsx';
import { percent } from '../parts/numbers.ts';
import { useSignal } from '../parts/signal-store.ts';
import { useNarrow } from '../parts/use-narrow.ts';
import classes from './tray.module.css';
import { TrayItem } from './tray-item.tsx';
import { type BoardItem, isActive, uploadBoard } from './upload-board.ts';
import { WaitingItem } from './waiting-item.tsx';
import { useWaitingUploads } from './waiting-uploads.ts';

/** At the bottom of every page: what this browser uploads, and what waits for its file. */
export function Tray() {
  const items = useSignal(uploadBoard.items);
  const waiting = useWaitingUploads();
  const [open, { toggle, open: unfold }] = useDisclosure(!useNarrow());
  const failed = items.filter((item) => item.phase === 'failed').length;
  useEffect(() => {
    if (failed > 0) unfold();
  }, [failed, unfold]);
  const { ref, height } = useElementSize<HTMLElement>();
  const shown = items.length + waiting.length > 0;
  useEffect(() => {
    document.documentElement.style.setProperty('--h-tray', shown ? `${Math.ceil(height)}px` : '0px');
  }, [height, shown]);
  if (!shown) return null;
  const Chevron = open ? IconChevronDown : IconChevronUp;
  return (
    <Paper component="section" ref={ref} className={classes.tray} aria-label="Uploads of this browser" shadow="lg">
      <UnstyledButton className={classes.head} onClick={toggle} aria-expanded={open}>
        <Text fw={600} component="span">
          {headline(items, waiting.length)}
        </Text>
        <Chevron size={20} aria-hidden="true" />
      </UnstyledButton>
      {!open && <Overall items={items} />}
      <Collapse expanded={open}>
        <Stack component="ul" gap={0} className={classes.list}>
          {items.map((item) => (
            <TrayItem key={item.id} item={item} />
          ))}
          {waiting.map((upload) => (
            <WaitingItem key={upload.id} upload={upload} />
          ))}
        </Stack>
        <ClearDone items={items} />
      </Collapse>
      <Announcer items={items} />
    </Paper>
  );
}

function ClearDone({ items }: { readonly items: readonly BoardItem[] }) {
  const done = items.filter((item) => item.phase === 'done');
  if (done.length === 0) return null;
  const clear = () => {
    for (const item of done) uploadBoard.dismiss(item.id);
  };
  return (
    <Group justify="flex-end" p="xs">
      <Button variant="subtle" size="xs" onClick={clear}>
        Clear what is done
      </Button>
    </Group>
  );
}

function Overall({ items }: { readonly items: readonly BoardItem[] }) {
  const moving = items.filter((item) => isActive(item));
  if (moving.length === 0) return null;
  const done = moving.reduce((sum, item) => sum + item.doneBytes, 0);
  const total = moving.reduce((sum, item) => sum + item.file.size, 0);
  return <Bar label="All running uploads" done={done} total={total} />;
}

/** Speaks politely, and only when something changes that matters: a start, each tenth, an end. */
function Announcer({ items }: { readonly items: readonly BoardItem[] }) {
  const [text, setText] = useState('');
  const now = items.map(spoken).join(' ');
  useEffect(() => setText(now), [now]);
  return (
    <div role="status" className={classes.spoken}>
      {text}
    </div>
  );
}

function spoken(item: BoardItem): string {
  const { name } = item.wish;
  if (item.phase === 'sending') {
    const tenth = Math.floor((percent(item.doneBytes, item.file.size) ?? 0) / 10) * 10;
    return `${name}: ${tenth} percent.`;
  }
  const words: Partial<Record<BoardItem['phase'], string>> = {
    waiting: 'waits and tries again',
    paused: 'paused',
    failed: 'stopped, needs you',
    done: 'complete',
  };
  const word = words[item.phase];
  return word ? `${name}: ${word}.` : '';
}

function headline(items: readonly BoardItem[], waiting: number): string {
  const moving = items.filter(isActive).length;
  const failed = items.filter((item) => item.phase === 'failed').length;
  const done = items.filter((item) => item.phase === 'done').length;
  const rest = items.length - moving - failed - done;
  const parts = [
    moving > 0 && `${moving} ${moving === 1 ? 'upload' : 'uploads'} running`,
    failed > 0 && `${failed} stopped`,
    rest > 0 && `${rest} held`,
    waiting > 0 && `${waiting} waiting for ${waiting === 1 ? 'its file' : 'their files'}`,
    done > 0 && `${done} done`,
  ];
  const text = parts.filter(Boolean).join(' · ');
  return text.charAt(0).toUpperCase() + text.slice(1);
}
