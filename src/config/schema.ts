import { z } from 'zod';
import { imageioSection } from './imageio.ts';

/**
 * Every setting of Hawser, once. `docs/config.md` is generated from it. A value is taken from the
 * flag, else the environment, else the file, else the default. The environment variable of a setting
 * is HAWSER_ and its path in capitals: `uploads.expireAfterSeconds` is HAWSER_UPLOADS_EXPIRE_AFTER_SECONDS.
 */
const address = z
  .string()
  .regex(/^(?:.+):\d{1,5}$/, 'an address is host:port, for example 127.0.0.1:7800 or [::]:0')
  .describe('host:port; port 0 picks a free one');

function httpUrl(scheme: 'https' | 'https?') {
  return z
    .string()
    .regex(
      new RegExp(`^(?:${scheme}://[^/\\s]+/?)?$`),
      `a URL is ${scheme === 'https' ? 'https://' : 'http:// or https://'} and a host, without a path`,
    );
}

const allowed = z
  .string()
  .regex(
    /^(?:[0-9a-f:.]+(?:\/\d{1,3})?|(?:\*\.)?[a-z0-9_](?:[a-z0-9_.-]*[a-z0-9_])?)$/i,
    'an entry is an address, a network like 10.0.0.0/8, or a host name like mirror.lab or *.lab',
  );

const limit = z.number().int().positive().nullable();

export const configSchema = z.object({
  dataDir: z
    .string()
    .default('')
    .describe(
      'Where everything is kept. Empty: /var/lib/hawser for root, else $XDG_DATA_HOME/hawser (~/.local/share/hawser).',
    ),
  listen: address.default('127.0.0.1:7800').describe('Main listener: page, API, health.'),
  dataListen: address.default('127.0.0.1:7802').describe('Data listener of the agent: bytes with a ticket.'),
  agentListen: address
    .default('127.0.0.1:7801')
    .describe(
      'Agent listener, always TLS with certificates on both sides: where agents join control, where control commands an agent.',
    ),
  agentUrl: httpUrl('https')
    .default('')
    .describe('Where others reach the agent listener, when that is not what `agentListen` says: https://HOST:PORT.'),
  dataUrl: httpUrl('https?')
    .default('')
    .describe('Where others reach the data listener, when that is not what `dataListen` says: https://HOST:PORT.'),
  publicUrl: z
    .string()
    .regex(/^(?:https?:\/\/[^/\s]+\/?)?$/, 'a URL is http:// or https:// and a host, without a path')
    .default('')
    .describe('The URL people use when a proxy stands in front. Empty: what `listen` says.'),
  databaseUrl: z.string().default('').describe('PostgreSQL to use. Empty: an embedded one in the data folder.'),
  tls: z
    .object({
      mode: z
        .enum(['auto', 'on', 'off'])
        .default('auto')
        .describe(
          'auto: on when a listener is not on loopback. Without `cert` a certificate is made in the data folder.',
        ),
      cert: z.string().default('').describe('File with the certificate chain, PEM.'),
      key: z.string().default('').describe('File with its private key, PEM.'),
    })
    .prefault({}),
  stores: z
    .array(
      z.object({
        name: z.string().min(1).max(100).describe('What people and commands call it.'),
        driver: z.enum(['file', 'memory']).default('file').describe('What kind of Store it is.'),
        path: z.string().default('').describe('Folder of a file Store.'),
        tags: z
          .array(z.string())
          .default([])
          .describe(
            'What placements may ask for. They count when the Store is new; afterwards what was set over the API does.',
          ),
      }),
    )
    .default([])
    .describe('The Stores of this host. Empty: one file Store `default` in the data folder.'),
  host: z
    .object({
      name: z.string().max(100).default('').describe('What people call this host. Empty: the name of the machine.'),
      tags: z
        .array(z.string())
        .default([])
        .describe(
          'What placements may ask for. They count when the host is new; afterwards what was set over the API does.',
        ),
    })
    .prefault({}),
  uploads: z
    .object({
      expireAfterSeconds: z
        .number()
        .int()
        .positive()
        .default(7 * 24 * 3600)
        .describe('An Upload that received nothing for so long is given up and its space comes back.'),
      awayAfterSeconds: z
        .number()
        .int()
        .positive()
        .default(30)
        .describe('After so long without a byte its Task shows as paused, waiting for the client.'),
      chunkSize: z
        .number()
        .int()
        .multipleOf(1024 * 1024)
        .positive()
        .default(16 * 1024 * 1024)
        .describe('Bytes of one PUT that clients are told to use; below the body limit of any proxy in front.'),
      maxSize: limit.default(null).describe('Largest Image that is accepted, bytes; null: no limit.'),
    })
    .prefault({}),
  copies: z
    .object({
      perHost: z
        .number()
        .int()
        .nonnegative()
        .default(5)
        .describe('Missing Copies that one host fetches at the same time; 0: none are made by themselves.'),
      recheckSeconds: z
        .number()
        .int()
        .positive()
        .default(600)
        .describe('How often each Copy is looked at: whether it is there, and as it was when it was sealed.'),
      awaySeconds: z
        .number()
        .int()
        .nonnegative()
        .default(300)
        .describe('Copies of a host that was silent for so long no longer count, and are made elsewhere.'),
    })
    .prefault({}),
  longhorn: z
    .object({
      open: z
        .enum(['on', 'off'])
        .default('off')
        .describe(
          "on: Longhorn's API at /v1 answers everybody, as the original does; for trusted networks only. Otherwise it wants a token or the page's login.",
        ),
      uploadPorts: z
        .string()
        .regex(/^(?:0|\d{1,5}-\d{1,5})$/, 'ports are first-last, for example 7900-7999, or 0')
        .default('7900-7999')
        .describe(
          'Ports of the upload servers of this host, one for each image that is uploaded in chunks; 0: any free ones.',
        ),
      grpcListen: z
        .union([address, z.literal('')])
        .default('')
        .describe("Where an agent answers the original's gRPC calls, for example 127.0.0.1:8500. Empty: nowhere."),
      openUploadServers: z
        .enum(['on', 'off'])
        .default('off')
        .describe(
          'on: upload servers and the gRPC listener speak plain HTTP with everybody, as the originals do; for trusted networks only. Otherwise they want the certificate of control.',
        ),
    })
    .prefault({}),
  downloads: z
    .object({
      allow: z
        .array(allowed)
        .default([])
        .describe(
          'Where downloads may go besides the public internet: networks (10.0.0.0/8), addresses, host names (mirror.lab, *.lab). Control refuses addresses at once by its own list, agents judge what a name leads to by theirs.',
        ),
    })
    .prefault({}),
  limits: z
    .object({
      totalRate: limit.default(null).describe('Bytes per second over everything; null: no limit.'),
      userRate: limit.default(null).describe('Bytes per second for each user.'),
      taskRate: limit.default(null).describe('Bytes per second for each Task.'),
      userQuota: limit
        .default(null)
        .describe('Bytes that the Images of one user may take, with what is promised to their Uploads.'),
    })
    .prefault({}),
  imageio: imageioSection,
  log: z
    .object({
      level: z
        .enum(['fatal', 'error', 'warn', 'info', 'debug', 'trace'])
        .default('info')
        .describe('How much is logged; one line an event, JSON.'),
    })
    .prefault({}),
});
export type Config = z.output<typeof configSchema>;
