import { z } from 'zod';

const listener = z
  .string()
  .regex(/^(?:|[^\s/]+)$/, 'an address is HOST or HOST:PORT, for example 0.0.0.0 or [::]:54322; empty for no listener')
  .default('');

/** The door for oVirt's clients; `docs/doors/imageio.md` tells how it is used. */
export const imageioSection = z
  .object({
    https: listener.describe(
      'Data listener of the imageio door, TLS: HOST or HOST:PORT, port 54322 unless said. Empty: none.',
    ),
    http: listener.describe('The same without TLS. Empty: none.'),
    unix: z
      .string()
      .default('')
      .describe('Unix socket of the same, for clients on this machine; OPTIONS tells them. Empty: none.'),
    control: z
      .string()
      .default('')
      .describe(
        'Unix socket where tickets are installed, mode 0660. Empty: `run/imageio.sock` in the data folder as soon as there is a listener.',
      ),
    controlHttps: listener.describe(
      'The same over TCP, TLS with client certificates of `controlCa`: HOST:PORT. Empty: none.',
    ),
    controlCa: z
      .string()
      .default('')
      .describe('File with the authority, PEM, whose clients may install tickets over TCP.'),
    cert: z
      .string()
      .default('')
      .describe('File with the certificate chain, PEM. Empty: that of `tls.cert`, or our own.'),
    key: z.string().default('').describe('File with its private key, PEM.'),
    roots: z
      .array(z.string())
      .default([])
      .describe('Folders whose files and devices a ticket with a file: URL may open, links resolved. Empty: none.'),
    fileWriters: z
      .number()
      .int()
      .min(1)
      .max(64)
      .default(1)
      .describe(
        'Connections that clients are told may write one regular file side by side. The original says 1; 4 or 8 is faster.',
      ),
    maxConnections: z
      .number()
      .int()
      .min(1)
      .max(64)
      .default(8)
      .describe('Connections that clients are told to use for one ticket at most.'),
    inactivitySeconds: z
      .number()
      .int()
      .positive()
      .default(60)
      .describe('A client that moves nothing for so long is given up, where its ticket does not say.'),
    removeSeconds: z
      .number()
      .int()
      .nonnegative()
      .default(60)
      .describe('How long removing a ticket waits for operations to end; 0: not at all, ask again.'),
  })
  .prefault({});
