import { setTimeout } from 'node:timers/promises';
import { openPeers } from '../links/peer/open-peers.ts';
import { passedInBuffers } from '../native/young-garbage.ts';
import type { PullMeans } from '../service/host/host-pulls.ts';

/** Tries in a row that bring nothing: about two and a half minutes. */
const TRIES = 10;

/** What an agent fetches by itself with. */
export function pullMeans(): PullMeans {
  return {
    openPeer: openPeers({ passed: passedInBuffers }),
    patience: {
      tries: TRIES,
      random: Math.random,
      delay: (ms, signal) => setTimeout(ms, undefined, { signal }),
    },
  };
}
