import { Title } from '@mantine/core';
import type { ReactNode } from 'react';

interface SectionProps {
  readonly title: string;
  readonly children: ReactNode;
}

/** A card with a heading. */
export function Section({ title, children }: SectionProps) {
  return (
    <section className="h-card" style={{ padding: 16, height: '100%' }}>
      <Title order={2} size="h5" mb="sm">
        {title}
      </Title>
      {children}
    </section>
  );
}
