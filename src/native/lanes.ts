import type { Move, MoveEvents, MoveRequest, Mover } from '../core/mover.ts';
import type { FileSend, SendEvents, Sender, Sending } from '../core/sender.ts';
import { libc } from './libc.ts';
import { SocketMover, type SocketMoverSettings } from './socket-mover.ts';
import { SocketSender } from './socket-sender.ts';

/** A thread that works for connections, and what hangs when a place does. */
interface Lane extends AsyncDisposable {
  /** Moves or sends that have not ended. */
  readonly running: number;
  /** Seconds for which it has been in one call of the kernel that reads or writes a file. */
  readonly heldSeconds: number;
}

/** More of them cost 10 to 25 MiB each; so many places can hang before those who come later lose their thread. */
const MOST_LANES = 4;

/** No disk that works takes so long for one call. */
const HELD_SECONDS = 5;

/**
 * Threads of one kind. What goes to one place shares a thread; another place gets another one while that is busy. So a
 * place that hangs holds only its own, and whoever is not alone on a disk that works has one thread.
 */
class Lanes<L extends Lane> implements AsyncDisposable {
  readonly #open: () => L;
  readonly #lanes: { readonly lane: L; place: string | undefined }[] = [];

  constructor(open: () => L) {
    this.#open = open;
  }

  /** For what is begun at once. Undefined when all that there may be are held: better no thread than one that hangs. */
  of(place: string | undefined): L | undefined {
    const sharing = this.#lanes.find((each) => each.place === place && each.lane.running > 0);
    if (sharing !== undefined) return sharing.lane;
    const moving = this.#lanes.filter(({ lane }) => lane.heldSeconds < HELD_SECONDS);
    let found = moving.find(({ lane }) => lane.running === 0);
    if (found === undefined && this.#lanes.length < MOST_LANES) {
      found = { lane: this.#open(), place };
      this.#lanes.push(found);
    }
    found ??= moving.sort((a, b) => a.lane.running - b.lane.running)[0];
    if (found?.lane.running === 0) found.place = place;
    return found?.lane;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#lanes.map(({ lane }) => lane[Symbol.asyncDispose]()));
  }
}

/** SocketMovers, each for one place at a time. Undefined where this machine has no such calls. */
export function openMoverLanes(settings?: SocketMoverSettings): (Mover & AsyncDisposable) | undefined {
  if (libc() === undefined) return undefined;
  const lanes = new Lanes(() => new SocketMover(settings));
  return {
    lane: (place) => lanes.of(place),
    begin: (request: MoveRequest, events: MoveEvents): Move | undefined => lanes.of(undefined)?.begin(request, events),
    [Symbol.asyncDispose]: () => lanes[Symbol.asyncDispose](),
  };
}

/** SocketSenders, as `openMoverLanes`. */
export function openSenderLanes(): (Sender & AsyncDisposable) | undefined {
  if (libc() === undefined) return undefined;
  const lanes = new Lanes(() => new SocketSender());
  return {
    lane: (place) => lanes.of(place),
    begin: (request: FileSend, events: SendEvents): Sending | undefined => lanes.of(undefined)?.begin(request, events),
    [Symbol.asyncDispose]: () => lanes[Symbol.asyncDispose](),
  };
}
