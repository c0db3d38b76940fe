import type { HostResource, JoinTokenResource } from '../../contract/api/host.ts';
import type { Host, JoinToken } from '../../core/nouns.ts';

export function hostResourceOf(host: Host): HostResource {
  return {
    id: host.id,
    name: host.name,
    state: host.state,
    status: host.status,
    version: host.version,
    linkVersion: host.linkVersion,
    enabled: host.enabled,
    evicting: host.evicting,
    drained: host.drained,
    tags: [...host.tags],
    agentUrl: host.agentUrl,
    dataUrls: [...host.dataUrls],
    storeCount: host.storeCount,
    copyCount: host.copyCount,
    capacity: host.capacity,
    free: host.free,
    seenAt: host.seenAt?.toISOString() ?? null,
    createdAt: host.createdAt.toISOString(),
  };
}

export function joinTokenResourceOf(token: JoinToken): JoinTokenResource {
  return {
    id: token.id,
    name: token.name,
    createdBy: token.createdBy,
    createdAt: token.createdAt.toISOString(),
    expiresAt: token.expiresAt.toISOString(),
    usedAt: token.usedAt?.toISOString() ?? null,
    hostId: token.hostId,
  };
}
