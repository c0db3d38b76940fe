import type { Config } from '../config/schema.ts';
import { HawserError } from '../core/errors.ts';
import type { HttpServer } from '../doors/_http/server.ts';
import { authenticate } from '../doors/api/authenticate.ts';
import { type LonghornSettings, longhornDoor } from '../doors/longhorn/longhorn-door.ts';
import type { Control } from '../service/control/control.ts';
import type { NameLocks } from '../service/control/ports.ts';
import type { ControlKeys } from './control-part.ts';

export interface LonghornParts {
  readonly config: Config;
  readonly control: Control;
  readonly nameLocks: NameLocks;
  readonly controlKeys: () => ControlKeys;
  /** PEM that a data listener of this process is verified with. */
  readonly dataCa: string | undefined;
}

/** Puts Longhorn's API on the main listener. */
export async function mountLonghorn(server: HttpServer, parts: LonghornParts): Promise<void> {
  const { config, control, nameLocks, controlKeys, dataCa } = parts;
  const publicUrl = config.publicUrl === '' ? undefined : config.publicUrl;
  const publicOrigin = publicUrl === undefined ? undefined : new URL(publicUrl).origin;
  const known: Authenticate = (request) => authenticate(request, { accounts: control.accounts, publicOrigin });
  await longhornDoor(server, {
    useCases: control,
    nameLocks,
    authenticate: config.longhorn.open === 'on' ? orAnybody(known) : known,
    uploadServerKeys: () => (config.longhorn.openUploadServers === 'on' ? undefined : controlKeys()),
    publicUrl,
    dataCa,
  });
}

type Authenticate = LonghornSettings['authenticate'];

/** Who says who they are must prove it; everybody else is `longhorn`, who may do all. */
function orAnybody(known: Authenticate): Authenticate {
  return async (request) => {
    if (request.headers.authorization !== undefined) return known(request);
    if (request.headers['sec-fetch-site'] === 'cross-site') {
      throw new HawserError('forbidden', 'A page of another site made this browser ask; that is never let in.');
    }
    return { user: 'longhorn', role: 'admin' };
  };
}
