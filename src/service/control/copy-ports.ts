import type { Copy } from '../../core/nouns.ts';
import type { CopyState, ImageState } from '../../core/states.ts';

/** A Copy with what is known of its place. */
export interface CopyPlace extends Copy {
  /** The host's agent is heard, and its Store can be used. */
  readonly online: boolean;
  /** Its Store or Host is being emptied. */
  readonly evicting: boolean;
}

/** Copies beyond one: how they are made, moved, looked at. Rows are locked through their Image. */
export interface CopyRecords {
  /** Those that were not removed, oldest first. */
  of(imageId: string): Promise<readonly CopyPlace[]>;
  /**
   * Ready Images with too few Copies, damaged ones, ones to move away, or a status to look at again; in the
   * order of ids from behind `after`. Those whose last attempt is to be repeated later are left out.
   */
  imagesToTend(at: Date, after: string | undefined, limit: number): Promise<readonly string[]>;
  /** Failed downloads that were ready once, whose last fetch succeeded, and of which no Copy is left. */
  lostDownloads(limit: number): Promise<readonly string[]>;
  /** Ids of the Copies of an Image that a live Task reads or that another Copy is made from now. */
  inUse(imageId: string): Promise<ReadonlySet<string>>;
  /** The database's time: that of one control may be wrong, and others must not suffer from what it wrote. */
  now(): Promise<Date>;
  /** Ready ones on hosts that were not heard of for so long. */
  away(seconds: number, limit: number): Promise<readonly Copy[]>;
  /**
   * Ready and unknown ones on a host, and those whose file was gone, that were not looked at since `before`, longest ago
   * first; also those that were looked at after `at`, which is now: whoever wrote that had a wrong clock.
   */
  toCheck(
    hostId: string,
    since: { readonly before: Date; readonly at: Date },
    limit: number,
  ): Promise<readonly CopyToCheck[]>;
  setChecked(ids: readonly string[], at: Date): Promise<void>;
  /** Whether it failed because its file was not there. */
  setAbsent(id: string, absent: boolean): Promise<void>;
  /** Of these ids those of Copies of this Image, also of removed ones. */
  known(imageId: string, ids: readonly string[]): Promise<ReadonlySet<string>>;
  /** Those on a Host or Store, the ones with a reason to stay first. */
  leaving(
    place: { readonly hostId: string } | { readonly storeId: string },
    limit: number,
  ): Promise<readonly LeavingCopy[]>;
  /** How often the making of the newest Copy of an Image was tried in vain. */
  tries(imageId: string): Promise<number>;
  tried(copyId: string): Promise<number>;
  setRetry(copyId: string, tries: number, retryAt: Date | null): Promise<void>;
  /** Takes the right to have an unfinished Copy fetched, for so long; one caller gets it. */
  claimPull(copyId: string, at: Date, seconds: number): Promise<boolean>;
}
export interface CopyToCheck extends Copy {
  readonly imageState: ImageState;
}
/** A Copy on what is being emptied. */
export interface LeavingCopy {
  readonly id: string;
  readonly imageId: string;
  readonly state: CopyState;
  readonly imageState: ImageState;
  /** Why a Copy of it cannot be made, as it was found last. */
  readonly imageStatus: string;
  /** Its host is heard. */
  readonly online: boolean;
}
