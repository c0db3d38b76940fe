import type { Host, JoinToken } from '../../core/nouns.ts';
import type { HostChange } from './use-cases.ts';

/** Hosts, their right to join, and the controls that live beside this one. */
export interface HostRecords {
  /** Removed ones left out. */
  list(): Promise<readonly Host[]>;
  /** Also removed ones. */
  find(id: string): Promise<Host | undefined>;
  change(id: string, change: HostChange): Promise<void>;
  /**
   * A new one, or one that joins again with its key: it is not removed any more, and its generation goes up. Returns
   * that; undefined when there is such a host, not removed, and this is not its key.
   */
  join(host: HostSeen, keyHash: string): Promise<number | undefined>;
  /**
   * Raises the generation above `known` as well, for a process that takes the host over; one that joined before keys
   * were kept has this one from now on. Undefined: not there, removed, or it has another key.
   */
  begin(hostId: string, by: { readonly known: number; readonly keyHash: string }): Promise<number | undefined>;
  /** Keeps how the host is reached and what is wrong with its version. Returns whether anything but times changed. */
  heartbeat(host: HostSeen, generation: number, outdated: string | null): Promise<boolean>;
  setOutdated(hostId: string, outdated: string | null): Promise<void>;
  /** Marks it removed; its Stores and Copies are not shown any more, no token that it used lets it in again, and nothing is owed to it. */
  remove(hostId: string): Promise<void>;
  /** Copies that are not removed, on its Stores. */
  copies(hostId: string): Promise<readonly { readonly id: string; readonly imageId: string }[]>;

  joinTokens(): Promise<readonly JoinToken[]>;
  insertJoinToken(token: NewJoinToken): Promise<JoinToken>;
  removeJoinToken(id: string): Promise<boolean>;
  /** How it stands, without using it: `used-before` may still let the same host and key in again. */
  joinToken(hash: string): Promise<'usable' | 'unknown' | 'expired' | 'used-before'>;
  /** Uses it up for this host and key, in one statement; the same again is `used` again. */
  takeJoinToken(
    hash: string,
    use: { readonly hostId: string; readonly keyHash: string },
  ): Promise<'used' | 'unknown' | 'expired' | 'used-before'>;

  /** This control is there, at these URLs of its agent listener. */
  saveControl(id: string, urls: readonly string[]): Promise<void>;
  removeControl(id: string): Promise<void>;
  /** URLs of the controls that were there in the last minute. */
  controlUrls(): Promise<readonly string[]>;
}
export interface NewJoinToken {
  readonly id: string;
  readonly name: string;
  readonly hash: string;
  readonly createdBy: string;
  readonly expiresInSeconds: number;
}

/** Carries what one control did to the others on the same database; nothing is kept for who is away. */
export interface ChangeBus {
  /** At most 7000 bytes. */
  publish(text: string): Promise<void>;
  /** Calls `hear` for what others publish, and `missed` when some of it may have been lost. */
  listen(hear: (text: string) => void, missed: () => void): Promise<void>;
  stop(): Promise<void>;
}

export interface HostSeen {
  readonly hostId: string;
  readonly name: string;
  readonly bootId: string;
  readonly version: string;
  readonly dataUrls: readonly string[];
  readonly dataCa: string | null;
  readonly agentUrl: string | null;
  readonly linkVersion: number;
  /** What the agent was configured with; counts until an administrator says otherwise. */
  readonly tags: readonly string[];
  /** Of the process; null: it is in control's own. */
  readonly generation?: number | null | undefined;
}
