import type { HawserError } from '../../core/errors.ts';
import type { Agents } from './agents.ts';
import type { ChangeHub } from './changes.ts';
import type { LiveUploads } from './live.ts';
import type { ControlDb, Log, Waker } from './ports.ts';

/** What every use case stands on. */
export interface Context {
  readonly db: ControlDb;
  readonly waker: Waker;
  readonly agents: Agents;
  readonly changes: ChangeHub;
  readonly live: LiveUploads;
  readonly config: ControlConfig;
  /** Something about Copies changed: they are looked after within a second or so. */
  readonly tend: () => void;
  readonly randomId: () => string;
  /** 256 random bits, base64url. */
  readonly randomSecret: () => string;
  /** 0 ≤ x < 1 */
  readonly chance: () => number;
  readonly now: () => Date;
  /** Why nothing may be fetched from a URL, as far as its text tells; the agent judges what its name leads to. */
  readonly urlRefusal?: ((url: string) => HawserError | undefined) | undefined;
  readonly log: Log;
}

/** The settings of config/schema that control decides by. Sizes and rates are bytes; null is no limit. */
export interface ControlConfig {
  readonly uploads: {
    readonly expireAfterSeconds: number;
    readonly awayAfterSeconds: number;
    readonly maxSize: number | null;
  };
  readonly copies: {
    /** Inbound pulls of one host that make missing Copies; 0: off. */
    readonly perHost: number;
    readonly recheckSeconds: number;
    readonly awaySeconds: number;
  };
  readonly limits: {
    readonly taskRate: number | null;
    readonly userRate: number | null;
    readonly userQuota: number | null;
  };
}
