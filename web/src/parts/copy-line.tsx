import { ActionIcon, Group, Text, Tooltip } from '@mantine/core';
import { IconCheck, IconCopy } from '@tabler/icons-react';
import { useState } from 'react';

/** Text in monospace with a button that copies it. */
export function CopyLine({ text, what }: { readonly text: string; readonly what: string }) {
  return (
    <Group gap="xs" wrap="nowrap" align="flex-start">
      <Text component="code" className="h-mono h-break" style={{ flex: 1, minWidth: 0 }}>
        {text}
      </Text>
      <CopyButton text={text} what={what} />
    </Group>
  );
}

function CopyButton({ text, what }: { readonly text: string; readonly what: string }) {
  const [copied, setCopied] = useState(false);
  const copy = async () => {
    await copyText(text);
    setCopied(true);
    setTimeout(() => setCopied(false), 2_000);
  };
  const label = copied ? 'Copied' : `Copy ${what}`;
  return (
    <Tooltip label={label}>
      <ActionIcon variant="subtle" color="gray" c="var(--mantine-color-text)" aria-label={label} onClick={copy}>
        {copied ? <IconCheck size={18} aria-hidden="true" /> : <IconCopy size={18} aria-hidden="true" />}
      </ActionIcon>
    </Tooltip>
  );
}

/** The clipboard API exists only in secure contexts; plain HTTP on another host needs the old way. */
async function copyText(text: string): Promise<void> {
  if (navigator.clipboard) {
    await navigator.clipboard.writeText(text);
    return;
  }
  const area = document.createElement('textarea');
  area.value = text;
  area.style.position = 'fixed';
  document.body.append(area);
  area.select();
  document.execCommand('copy');
  area.remove();
}
