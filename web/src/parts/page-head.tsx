import { Group, Title } from '@mantine/core';
import { type ReactNode, useEffect } from 'react';

interface PageHeadProps {
  readonly title: string;
  readonly children?: ReactNode;
}

/** The page's heading, which is also the window's title. */
export function PageHead({ title, children }: PageHeadProps) {
  useEffect(() => {
    document.title = `${title} · Hawser`;
  }, [title]);
  return (
    <Group justify="space-between" mb="md" gap="sm">
      <Title order={1} size="h2" className="h-break">
        {title}
      </Title>
      {children}
    </Group>
  );
}
