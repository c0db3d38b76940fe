import { ActionIcon, Button, Group, Text, Tooltip } from '@mantine/core';
import {
  IconCircleCheck,
  IconPlayerPause,
  IconPlayerPlay,
  IconRefresh,
  IconTrash,
  IconX,
  type TablerIcon,
} from '@tabler/icons-react';
import { Link } from '@tanstack/react-router';
import { useState } from 'react';
import { Bar } from '../parts/bar.tsx';
import { Confirm } from '../parts/confirm.tsx';
import { formatBytes, formatRate, percent, timeLeft } from '../parts/numbers.ts';
import { adviceFor } from './advice.ts';
import classes from './tray.module.css';
import { type BoardItem, isActive, uploadBoard } from './upload-board.ts';

export function TrayItem({ item }: { readonly item: BoardItem }) {
  const { name } = item.wish;
  return (
    <li className={classes.item} data-phase={item.phase}>
      <Group justify="space-between" wrap="nowrap" gap="xs">
        <Name item={item} />
        <Actions item={item} />
      </Group>
      {item.phase !== 'done' && (
        <Bar label={`Upload of ${name}`} done={item.doneBytes} total={item.file.size} tone={toneOf(item)} />
      )}
      <Text size="xs" c="dimmed" mt={4}>
        {lineOf(item)}
      </Text>
      {item.trouble !== null && <TroubleText item={item} />}
    </li>
  );
}

function Name({ item }: { readonly item: BoardItem }) {
  const text = (
    <Text size="sm" fw={600} truncate component="span" title={item.wish.name}>
      {item.wish.name}
    </Text>
  );
  if (item.imageId === null) return text;
  return (
    <Link
      to="/images/$imageId"
      params={{ imageId: item.imageId }}
      style={{ minWidth: 0, display: 'flex', color: 'inherit' }}
    >
      {text}
    </Link>
  );
}

function Actions({ item }: { readonly item: BoardItem }) {
  const [asking, setAsking] = useState(false);
  const { id, phase } = item;
  const { name } = item.wish;
  if (phase === 'done') {
    return (
      <Group gap={4} wrap="nowrap">
        <IconCircleCheck size={20} color="var(--h-good)" aria-hidden="true" />
        <Act icon={IconX} label={`Dismiss ${name}`} onClick={() => uploadBoard.dismiss(id)} />
      </Group>
    );
  }
  return (
    <Group gap={4} wrap="nowrap">
      {isActive(item) && phase !== 'finishing' && (
        <Act icon={IconPlayerPause} label={`Pause ${name}`} onClick={() => void uploadBoard.pause(id)} />
      )}
      {phase === 'paused' && (
        <Act icon={IconPlayerPlay} label={`Resume ${name}`} onClick={() => void uploadBoard.resume(id)} />
      )}
      {phase === 'failed' && !needsChoice(item) && !isUnreadable(item) && (
        <Act icon={IconRefresh} label={`Retry upload of ${name}`} onClick={() => void uploadBoard.resume(id)} />
      )}
      <Act icon={IconTrash} label={`Cancel ${name}`} onClick={() => setAsking(true)} />
      <Confirm
        opened={asking}
        title="Cancel this upload?"
        action="Cancel the upload"
        onConfirm={() => void uploadBoard.cancel(id)}
        onClose={() => setAsking(false)}
      >
        The {formatBytes(item.doneBytes)} of <b>{name}</b> that have arrived are thrown away. Your file stays as it is.
      </Confirm>
    </Group>
  );
}

interface ActProps {
  readonly icon: TablerIcon;
  readonly label: string;
  readonly onClick: () => void;
}

function Act({ icon: Icon, label, onClick }: ActProps) {
  return (
    <Tooltip label={label}>
      <ActionIcon
        size={30}
        variant="subtle"
        color="gray"
        c="var(--mantine-color-text)"
        aria-label={label}
        onClick={onClick}
      >
        <Icon size={18} aria-hidden="true" />
      </ActionIcon>
    </Tooltip>
  );
}

function TroubleText({ item }: { readonly item: BoardItem }) {
  if (item.trouble === null) return null;
  const { text, next } = adviceFor(item.trouble);
  return (
    <>
      <Text size="sm" mt={4} className="h-break" role={item.phase === 'failed' ? 'alert' : undefined}>
        {text} {next && <b>{next}</b>}
      </Text>
      {isUnreadable(item) && (
        <Button size="xs" mt="xs" onClick={() => uploadBoard.dismiss(item.id)}>
          I will choose it again
        </Button>
      )}
      {needsChoice(item) && (
        <Group gap="xs" mt="xs">
          {!isGone(item) && (
            <Button size="xs" onClick={() => uploadBoard.asNewImage(item.id)}>
              Upload as a new image
            </Button>
          )}
          <Button size="xs" variant="default" onClick={() => void uploadBoard.startOver(item.id)}>
            Start over
          </Button>
        </Group>
      )}
    </>
  );
}

/** Trying again cannot help: the file is another one than before. */
function needsChoice(item: BoardItem): boolean {
  const codes = ['source-changed', 'range-conflict', 'expired', 'cancelled', 'not-found', 'size-mismatch'];
  return item.phase === 'failed' && item.trouble !== null && !isUnreadable(item) && codes.includes(item.trouble.code);
}

/** There is nothing left to go on with. */
function isGone(item: BoardItem): boolean {
  return ['expired', 'cancelled', 'not-found'].includes(item.trouble?.code ?? '');
}

/** The browser lost its hold of the file; only choosing it again helps. */
function isUnreadable(item: BoardItem): boolean {
  return item.phase === 'failed' && item.trouble?.details.unreadable === true;
}

function toneOf(item: BoardItem) {
  if (item.phase === 'failed') return 'bad';
  return item.phase === 'paused' || item.phase === 'waiting' ? 'wait' : 'busy';
}

function lineOf(item: BoardItem): string {
  const { doneBytes, file, rate, resumedBytes, zeroBytes } = item;
  const amount = `${formatBytes(doneBytes)} of ${formatBytes(file.size)}`;
  const share = `${percent(doneBytes, file.size) ?? 0} %`;
  switch (item.phase) {
    case 'queued':
      return `Waits its turn · ${formatBytes(file.size)}`;
    case 'starting':
      return 'Starting…';
    case 'checking':
      return `Checking that the file is the same as before · ${share}`;
    case 'finishing':
      return 'All there. Sealing…';
    case 'done': {
      const saved = zeroBytes > 0 ? ` · ${formatBytes(zeroBytes)} were zeros and not sent` : '';
      const kept = resumedBytes > 0 ? ` · ${formatBytes(resumedBytes)} were there already` : '';
      return `Complete · ${formatBytes(file.size)}${saved}${kept}`;
    }
    case 'sending': {
      const left = timeLeft(doneBytes, file.size, rate);
      return [share, amount, rate ? formatRate(rate) : '', left ? `${left} left` : ''].filter(Boolean).join(' · ');
    }
    case 'paused':
      return `Paused · ${share} · ${amount}`;
    default:
      return `${share} · ${amount}`;
  }
}
