import { Table } from '@mantine/core';
import type { ReactNode } from 'react';
import type { ImageResource } from '../../../src/contract/api/image.ts';
import { exactBytes } from '../parts/numbers.ts';
import { Section } from '../parts/section.tsx';
import { exactTime } from '../parts/when.tsx';
import { originText } from './origin-text.tsx';

export function SizesCard({ image }: { readonly image: ImageResource }) {
  const rows: readonly (readonly [string, ReactNode])[] = [
    ['Content', exactBytes(image.size ?? image.declaredSize)],
    ['A machine sees', exactBytes(image.virtualSize)],
    ['Stored', exactBytes(image.storedSize)],
    ['Format', image.format],
    ['Origin', originText(image)],
    ['Owner', image.owner],
    ['Created', exactTime(image.createdAt)],
    ['Ready since', image.readyAt === null ? 'not yet' : exactTime(image.readyAt)],
  ];
  return (
    <Section title="Facts">
      <Table className="h-table" withRowBorders={false} verticalSpacing={4} aria-label="Facts">
        <Table.Tbody>
          {rows.map(([label, value]) => (
            <Table.Tr key={label}>
              <Table.Th scope="row" pl={0}>
                {label}
              </Table.Th>
              <Table.Td className="h-break">{value}</Table.Td>
            </Table.Tr>
          ))}
        </Table.Tbody>
      </Table>
    </Section>
  );
}
