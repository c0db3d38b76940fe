/**
 * The import law of docs/architecture.md. Each comment tells the offender what to do instead;
 * test/tools/import-law.test.ts sees each rule fire.
 */

/** What each part of src may import beyond itself. Everything else is a breach. */
const layers = {
  core: {
    may: [],
    instead:
      'core is pure words. Take what you need as an argument, or put the code where it may be imported: engine, service, host.',
  },
  contract: {
    may: ['core/'],
    instead: 'contract has only the shapes of our own API and link. Shapes both sides need go to core.',
  },
  config: {
    may: ['core/'],
    instead: 'config has only settings. The part that uses a setting gets its value from roles.',
  },
  client: {
    may: ['core/', 'contract/'],
    instead:
      'client also runs in a browser. Take files, clocks and sockets through client/ports.ts; cli and web give them.',
  },
  tls: {
    may: ['core/'],
    instead: 'tls only looks at certificates of hosts. What they are needed for belongs to links, doors or cli.',
  },
  native: {
    may: ['core/'],
    instead: 'native has only system calls. What decides when to call them belongs to the driver or to host.',
  },
  stores: {
    may: ['core/', 'native/'],
    instead:
      'A driver knows keys and bytes. What moves, hashes or limits bytes is in engine, which imports stores/store.ts.',
  },
  formats: { may: ['core/'], instead: 'formats is pure over a reader: take the bytes through FormatReader.' },
  engine: {
    // sha256: two blocks at a time, by a function of OpenSSL that only native can reach.
    may: ['core/', 'formats/', 'stores/(store|device)\\.ts$', 'native/sha256\\.js$'],
    instead:
      'engine knows the contracts of Store and Device (stores/store.ts, stores/device.ts), no driver: take them as arguments.',
  },
  transfer: {
    may: ['core/', 'engine/'],
    instead: 'A plugin moves bytes through engine. Take everything else through the plugin contract.',
  },
  'service/host': {
    may: ['core/', 'engine/', 'formats/', 'contract/', 'stores/(store|device)\\.ts$'],
    instead: 'Declare what you need in service/host/ports.ts; host or links implements it, roles hands it in.',
  },
  'service/control': {
    may: ['core/', 'formats/', 'contract/link\\.ts$'],
    instead:
      'Declare what you need in service/control/ports.ts; db or links implements it, roles hands it in. Doors translate to and from contract/api.',
  },
  db: {
    may: ['core/', 'service/control/[a-z-]*ports\\.ts$'],
    instead: 'db implements service/control/ports.ts and host-ports.ts. What decides belongs to service/control.',
  },
  host: {
    may: ['core/', 'native/', 'service/host/[a-z-]*ports\\.ts$', 'engine/upload-journal\\.ts$'],
    instead:
      'host implements service/host/ports.ts and ticket-ports.ts over this machine (and keeps the records of engine/upload-journal.ts). What decides belongs to service/host.',
  },
  links: {
    may: ['core/', 'contract/', 'tls/', 'service/(control|host)/ports\\.ts$'],
    instead: 'A link implements a port in a foreign language. What decides belongs to service.',
  },
  doors: {
    // young-garbage: bodies come in Buffers that only node:http makes, and only there can their garbage be counted.
    // duplicate, lent-socket, pinned-tls: a connection is lent by a descriptor of its own, and with the TLS that reads it.
    may: [
      'core/',
      'contract/',
      'service/',
      'tls/',
      'native/(young-garbage|duplicate|lent-socket|own-tls|tls-session)\\.ts$',
    ],
    instead:
      'A door translates words and calls a use case. Ask service for what is missing; roles hands in what is made elsewhere.',
  },
  cli: {
    may: ['core/', 'config/', 'contract/', 'client/', 'native/', 'tls/', 'roles/'],
    instead: 'A command talks to a server through client, or starts a role of roles.',
  },
};

/** Modules of the system and packages that only some parts may use. */
const outsiders = [
  {
    name: 'files-and-processes-have-their-place',
    only: ['stores', 'transfer', 'host', 'config', 'cli', 'native'],
    what: '^(node:)?(fs|fs/promises|child_process)$',
    instead:
      'Only stores, transfer, host, config, cli and native touch files and child processes. Declare a port and let host implement it.',
  },
  {
    name: 'sql-only-in-db',
    only: ['db'],
    what: 'node_modules/(kysely|pg|pg-boss|pg-protocol|@types/pg)/',
    instead:
      'SQL and queues are spoken only in db. Declare a method in service/control/ports.ts and implement it there.',
  },
  {
    name: 's3-sdk-only-in-stores-s3',
    only: ['stores/s3'],
    what: 'node_modules/@(aws-sdk|smithy)/',
    instead: 'The S3 SDK is used only by the driver stores/s3. Everybody else takes a Store.',
  },
  {
    name: 'grpc-only-in-its-doors',
    only: ['doors/csi', 'doors/longhorn'],
    what: 'node_modules/@grpc/',
    instead: 'gRPC is spoken only by doors/csi and doors/longhorn. Everybody else calls the use case.',
  },
  {
    name: 'koffi-only-in-native',
    only: ['native'],
    what: 'node_modules/koffi/',
    instead: 'System calls are bound in native, each with a fallback in JavaScript. Add a function there.',
  },
  {
    name: 'http-server-only-in-doors',
    only: ['doors'],
    what: 'node_modules/(fastify|@fastify|fastify-type-provider-zod|@scalar)/',
    instead: 'Only doors know HTTP frameworks. A role asks doors/_http for a server.',
  },
];

const tests = ['\\.test\\.tsx?$', '(^|/)testing/', '^test/'];
/** Where running begins: nothing that is not reached from here is kept. Workers are started by their file's URL. */
const entries = [
  '^src/cli/main\\.ts$',
  '-worker\\.(tsx?|js)$',
  '^web/src/main\\.tsx$',
  '^web/vite\\.config\\.ts$',
  '^tools/[^/]+\\.ts$',
  '^test/bench/main\\.ts$',
  '^vitest\\.config\\.ts$',
  // Layers are put around a Store by whoever needs one: today that is the conformance suite and, for metrics, the agent.
  '^test/conformance/',
];

const layerRules = Object.entries(layers).map(([layer, { may, instead }]) => ({
  name: `${layer.replace('/', '-')}-imports`,
  comment: instead,
  severity: 'error',
  from: { path: `^src/${layer}/`, pathNot: tests },
  to: { path: '^src/', pathNot: [`^src/${layer}/`, ...may.map((place) => `^src/${place}`)] },
}));

const outsiderRules = outsiders.map(({ name, only, what, instead }) => ({
  name,
  comment: instead,
  severity: 'error',
  from: { path: '^src/', pathNot: [...only.map((place) => `^src/${place}/`), ...tests] },
  to: { path: what },
}));

const houseRules = [
  {
    name: 'core-is-pure',
    comment:
      'core reads no clock, files, network or environment and needs no package. Take it as an argument, or move the code out of core.',
    severity: 'error',
    from: { path: '^src/core/', pathNot: tests },
    to: { pathNot: '^src/core/' },
  },
  {
    name: 'no-driver-imports-another',
    comment: 'Drivers stand alone. What two of them need goes beside them (stores/*.ts) or into engine.',
    severity: 'error',
    from: { path: '^src/stores/([^/]+)/', pathNot: tests },
    to: { path: '^src/stores/[^/]+/', pathNot: '^src/stores/$1/' },
  },
  {
    name: 'no-door-imports-another',
    comment: 'Doors stand alone. What two of them need goes to doors/_http, or it is a use case and goes to service.',
    severity: 'error',
    from: { path: '^src/doors/([^/]+)/', pathNot: tests },
    to: { path: '^src/doors/[^/]+/', pathNot: ['^src/doors/$1/', '^src/doors/_http/'] },
  },
  {
    name: 'shared-http-imports-no-door',
    comment: 'doors/_http serves all doors and knows none. Pass what it needs as an argument.',
    severity: 'error',
    from: { path: '^src/doors/_http/', pathNot: tests },
    to: { path: '^src/doors/(?!_http/)' },
  },
  {
    name: 'only-cli-imports-roles',
    comment:
      'roles puts everything together and is asked by nobody but cli. Take what you need as an argument; roles hands it in.',
    severity: 'error',
    from: { path: '^src/(?!roles/|cli/)', pathNot: tests },
    to: { path: '^src/roles/' },
  },
  {
    name: 'nobody-imports-cli',
    comment: 'cli is the outermost part. Move what you need to client, config or roles.',
    severity: 'error',
    from: { path: '^(src/(?!cli/)|web/)', pathNot: tests },
    to: { path: '^src/cli/' },
  },
  {
    name: 'web-imports',
    comment:
      'The page knows the server only through contract and client, and the pure words of core. Export what it needs from there.',
    severity: 'error',
    from: { path: '^web/' },
    to: { path: '^(src|tools|test)/', pathNot: ['^src/(contract|client|core)/', '^test/needs\\.ts$'] },
  },
  {
    name: 'src-stands-alone',
    comment: 'What runs must not need tests, tools or the page. Move the code into src, or the file out of it.',
    severity: 'error',
    from: { path: '^src/', pathNot: tests },
    to: { path: ['^(test|tools|web)/', '\\.test\\.tsx?$', '(^|/)testing/'] },
  },
  {
    name: 'tests-are-imported-by-tests',
    comment: 'Tests and their samples are for tests. Move what the page or a tool needs out of them.',
    severity: 'error',
    from: { path: '^(web|tools)/', pathNot: tests },
    to: { path: [...tests], pathNot: '^test/needs\\.ts$' },
  },
  {
    name: 'src-needs-no-dev-package',
    comment:
      'What runs may use only "dependencies" of package.json: npm ci --omit=dev must give a working program. Move the package there, or the code to tools.',
    severity: 'error',
    from: { path: '^src/', pathNot: tests },
    to: { dependencyTypes: ['npm-dev', 'npm-no-pkg', 'npm-unknown'], dependencyTypesNot: ['type-only'] },
  },
  {
    name: 'imports-resolve',
    comment:
      'There is no such file or package. Imports inside the project end in .ts; packages are listed in package.json.',
    severity: 'error',
    from: { path: '^(src|web|tools|test)/' },
    to: { couldNotResolve: true },
  },
  {
    name: 'no-cycles',
    comment: 'These files need each other. Move what both need into a third file, or pass it as an argument.',
    severity: 'error',
    from: {},
    to: { circular: true },
  },
  {
    name: 'no-orphans',
    comment: 'Nobody imports this file and it imports nobody. Remove it.',
    severity: 'error',
    from: { orphan: true, pathNot: [...tests, ...entries, '\\.d\\.ts$', '^web/public/'] },
    to: {},
  },
  {
    name: 'nothing-unreachable',
    comment: 'No command, page, tool or worker comes here. Use it or remove it.',
    severity: 'error',
    from: { path: entries },
    to: { path: '^(src|web/src)/', pathNot: [...tests, ...entries, '\\.d\\.ts$'], reachable: false },
  },
];

export default {
  forbidden: [...layerRules, ...outsiderRules, ...houseRules],
  options: {
    doNotFollow: { path: ['node_modules'] },
    exclude: { path: ['(^|/)(dist|\\.cache)/'] },
    tsPreCompilationDeps: true,
    detectProcessBuiltinModuleCalls: true,
    enhancedResolveOptions: {
      exportsFields: ['exports'],
      conditionNames: ['types', 'import', 'node', 'default'],
      extensions: ['.ts', '.tsx', '.js', '.mjs'],
    },
  },
};
