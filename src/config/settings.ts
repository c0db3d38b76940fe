import { z } from 'zod';
import { configSchema } from './schema.ts';

/** One setting: a leaf of the schema, or a list that is given as a whole. */
export interface Setting {
  /** `uploads.chunkSize` */
  readonly path: string;
  /** `HAWSER_UPLOADS_CHUNK_SIZE` */
  readonly variable: string;
  /** `--uploads-chunk-size` */
  readonly flag: string;
  readonly kind: 'text' | 'number' | 'list';
  /** A number of bytes (or bytes per second), of seconds, or neither. */
  readonly unit: 'bytes' | 'seconds' | undefined;
  readonly nullable: boolean;
  readonly choices: readonly string[] | undefined;
  readonly usual: unknown;
  readonly description: string;
  /** For a list: what each of its items has. */
  readonly items: readonly Setting[];
}

/** All settings, in the order of the schema. */
export function allSettings(): readonly Setting[] {
  return leavesOf(z.toJSONSchema(configSchema, { io: 'input' }) as Node, '');
}

/** A node of a JSON Schema as zod writes it, as far as settings go. */
interface Node {
  readonly type?: string;
  readonly properties?: Readonly<Record<string, Node>>;
  readonly items?: Node;
  readonly anyOf?: readonly Node[];
  readonly enum?: readonly string[];
  readonly default?: unknown;
  readonly description?: string;
}

function leavesOf(node: Node, above: string): readonly Setting[] {
  return Object.entries(node.properties ?? {}).flatMap(([key, child]) => {
    const path = above === '' ? key : `${above}.${key}`;
    return child.properties === undefined ? [leafOf(child, path)] : leavesOf(child, path);
  });
}

function leafOf(node: Node, path: string): Setting {
  const variants = node.anyOf ?? [node];
  const type = variants.find((variant) => variant.type !== 'null')?.type;
  const kind = type === 'array' ? 'list' : type === 'integer' || type === 'number' ? 'number' : 'text';
  const words = path.replaceAll('.', '_').replace(/[A-Z]/g, (letter) => `_${letter}`);
  return {
    path,
    variable: `HAWSER_${words.toUpperCase()}`,
    flag: `--${words.toLowerCase().replaceAll('_', '-')}`,
    kind,
    unit: kind === 'number' ? (path.endsWith('Seconds') ? 'seconds' : 'bytes') : undefined,
    nullable: variants.some((variant) => variant.type === 'null'),
    choices: node.enum,
    usual: node.default,
    description: node.description ?? '',
    items: node.items === undefined ? [] : leavesOf(node.items, ''),
  };
}
