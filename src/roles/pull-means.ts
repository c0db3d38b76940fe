import { lookup } from 'node:dns/promises';
import { availableParallelism, networkInterfaces } from 'node:os';
import { setTimeout } from 'node:timers/promises';
import { lendConnection } from '../doors/_http/lent-connection.ts';
import { openPeers } from '../links/peer/open-peers.ts';
import { addressGuard } from '../links/url/address-guard.ts';
import { openUrls } from '../links/url/open-urls.ts';
import { pinnedTls } from '../native/pinned-tls.ts';
import { passedInBuffers } from '../native/young-garbage.ts';
import type { PullMeans } from '../service/host/host-pulls.ts';

/** Tries in a row that bring nothing: about two and a half minutes. */
const TRIES = 10;

/** What an agent fetches by itself with. `allow`: downloads.allow of the configuration. */
export function pullMeans(allow: readonly string[]): PullMeans {
  const guard = addressGuard({ allow, own: ownAddresses });
  const resolve = (host: string) => lookup(host, { all: true });
  return {
    openPeer: openPeers({ passed: passedInBuffers, lend: lendConnection, connectPinned: pinnedTls() }),
    openUrl: openUrls({ guard, resolve, passed: passedInBuffers, now: () => new Date() }),
    // One core stays for everything else.
    unpackAtOnce: Math.max(1, availableParallelism() - 1),
    patience: {
      tries: TRIES,
      random: Math.random,
      delay: (ms, signal) => setTimeout(ms, undefined, { signal }),
    },
  };
}

function ownAddresses(): readonly string[] {
  return Object.values(networkInterfaces()).flatMap((list) => (list ?? []).map(({ address }) => address));
}
