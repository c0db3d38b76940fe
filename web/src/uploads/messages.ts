import type { DeclaredFormat, Placement } from '../../../src/core/nouns.ts';

/** What the page asks the worker of one upload. */
export interface UploadWish {
  readonly name: string;
  readonly format: DeclaredFormat;
  /** `algorithm:hex` that the whole content must have. */
  readonly digest?: string | undefined;
  /** Never go on with an earlier Upload of a file that looks the same: any text of its own. */
  readonly apart?: string | undefined;
  /** How many Copies there shall be, and where. */
  readonly placement?: Placement | undefined;
  /** The Store to use. */
  readonly storeId?: string | undefined;
  /** Fill this failed Image again. */
  readonly imageId?: string | undefined;
}

export interface ToWorker {
  readonly file: File;
  readonly wish: UploadWish;
  /** Go on with this Upload; null: begin one. */
  readonly uploadId: string | null;
  /** Makes a repeated begin find the first one. */
  readonly key: string;
}

/** An error as it crosses from the worker. */
export interface Trouble {
  readonly code: string;
  readonly message: string;
  readonly details: Readonly<Record<string, unknown>>;
}

export type FromWorker =
  | { readonly kind: 'began'; readonly uploadId: string; readonly imageId: string; readonly taskId: string }
  | {
      readonly kind: 'progress';
      readonly phase: 'checking' | 'sending' | 'finishing';
      readonly doneBytes: number;
      /** Of doneBytes, those that were there before this start. */
      readonly resumedBytes: number;
      readonly zeroBytes: number;
      readonly rate: number | null;
    }
  /** It tries again by itself; `message` says what is the matter. */
  | { readonly kind: 'waiting'; readonly trouble: Trouble }
  | { readonly kind: 'done'; readonly imageId: string; readonly how: 'begun' | 'resumed' | 'there' }
  | { readonly kind: 'failed'; readonly trouble: Trouble };
