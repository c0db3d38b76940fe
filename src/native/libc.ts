import { createRequire } from 'node:module';

/**
 * The few calls of the C library that Node does not offer, bound by koffi. Everything here is absent
 * (undefined) where koffi or the library cannot be loaded or the machine is not 64-bit Linux; the
 * modules beside this one then do without.
 */
export interface Libc {
  /** Synchronous: it walks extents in memory and takes about a microsecond. */
  seek(fd: number, offset: number, whence: number): number;
  fallocate(fd: number, mode: number, offset: number, length: number): Promise<void>;
  /** Bytes copied, 0 at the end of the source. */
  copyFileRange(from: FilePosition, to: FilePosition, length: number): Promise<number>;
  /** FICLONE: `to` shares all blocks of `from`. */
  clone(from: number, to: number): Promise<void>;
  /** renameat2 with RENAME_NOREPLACE. */
  renameNoReplace(from: string, to: string): Promise<void>;
  /** flock(2), exclusive and without waiting; throws EWOULDBLOCK when another has it. It goes with the process. */
  lock(fd: number): void;
  /** A second descriptor of the same open file or socket, not inherited by children (F_DUPFD_CLOEXEC). */
  duplicate(fd: number): number;
  /** eventfd(2), not blocking: written to in one thread, it wakes another from poll(2). */
  event(): number;
}

export interface FilePosition {
  readonly fd: number;
  readonly offset: number;
}

/** As Node's own errors of the system: `code` is the name of the errno. */
export class SystemCallError extends Error {
  readonly code: string;
  readonly syscall: string;

  constructor(syscall: string, code: string) {
    super(`${code}: ${syscall}`);
    this.name = 'SystemCallError';
    this.code = code;
    this.syscall = syscall;
  }
}

let loaded: { readonly libc: Libc | undefined } | undefined;

/** Loads on the first call, once per process. */
export function libc(): Libc | undefined {
  loaded ??= { libc: load() };
  return loaded.libc;
}

/** Whether the error says that this kernel or filesystem cannot do it, and never will for this file. */
export function isRefusal(error: unknown): boolean {
  return error instanceof SystemCallError && refusals.has(error.code);
}

const refusals = new Set(['EOPNOTSUPP', 'ENOTSUP', 'ENOSYS', 'EINVAL', 'ENOTTY', 'EXDEV', 'EPERM', 'ENODEV', 'ESPIPE']);

/** ioctl(2) request FICLONE, linux/fs.h: _IOW(0x94, 9, int); the same on x64 and arm64. */
const FICLONE = 0x40049409;
/** Paths are absolute; AT_FDCWD is asked for all the same. */
const AT_FDCWD = -100;
const RENAME_NOREPLACE = 1;
const LOCK_EX = 2;
const LOCK_NB = 4;
const F_DUPFD_CLOEXEC = 1030;
/** EFD_CLOEXEC and EFD_NONBLOCK; the same on x64 and arm64. */
const EFD_FLAGS = 0o2004000;

type Koffi = typeof import('koffi');
type Native = ReturnType<ReturnType<Koffi['load']>['func']>;

function load(): Libc | undefined {
  if (process.platform !== 'linux' || (process.arch !== 'x64' && process.arch !== 'arm64')) return undefined;
  let koffi: Koffi;
  try {
    koffi = createRequire(import.meta.url)('koffi');
  } catch {
    // No prebuilt koffi for this machine: what is left is slower, never wrong.
    return undefined;
  }
  return bind(koffi);
}

function bind(koffi: Koffi): Libc {
  // null: the symbols of the running program, so the same for glibc and musl. off_t is 64 bits wide here.
  const library = koffi.load(null);
  const find = (declaration: string): Native | undefined => {
    try {
      return library.func(declaration);
    } catch (error) {
      // A C library too old for it; a wrong declaration must not pass for that.
      if (error instanceof Error && error.message.includes('Cannot find function')) return undefined;
      throw error;
    }
  };
  const lseek = find('int64_t lseek(int fd, int64_t offset, int whence)');
  const fallocate = find('int fallocate(int fd, int mode, int64_t offset, int64_t length)');
  const copyFileRange = find(
    'int64_t copy_file_range(int from, _Inout_ int64_t *fromAt, int to, _Inout_ int64_t *toAt, size_t length, uint flags)',
  );
  const ioctl = find('int ioctl(int fd, unsigned long request, int argument)');
  const renameat2 = find('int renameat2(int fromFd, const char *from, int toFd, const char *to, uint flags)');
  const flock = find('int flock(int fd, int operation)');
  const eventfd = find('int eventfd(uint initial, int flags)');
  const fcntl = find('int fcntl(int fd, int command, ...)');

  const names = new Map(Object.entries(koffi.os.errno).map(([name, value]) => [value, name]));
  const failed = (syscall: string, errno: number) => new SystemCallError(syscall, names.get(errno) ?? `errno ${errno}`);

  /** Runs on koffi's threads; its errno is that of the call while the callback runs. */
  const call = (syscall: string, native: Native | undefined, args: readonly unknown[]) =>
    new Promise<number>((resolve, reject) => {
      if (native === undefined) throw new SystemCallError(syscall, 'ENOSYS');
      native.async(...args, (error: Error | null, result: number) => {
        if (error !== null) reject(error);
        else if (result < 0) reject(failed(syscall, koffi.errno()));
        else resolve(result);
      });
    });

  return {
    seek(fd, offset, whence) {
      if (lseek === undefined) throw new SystemCallError('lseek', 'ENOSYS');
      const result = Number(lseek(fd, offset, whence));
      if (result < 0) throw failed('lseek', koffi.errno());
      return result;
    },
    async fallocate(fd, mode, offset, length) {
      await call('fallocate', fallocate, [fd, mode, offset, length]);
    },
    copyFileRange: (from, to, length) =>
      call('copy_file_range', copyFileRange, [from.fd, [from.offset], to.fd, [to.offset], length, 0]),
    async clone(from, to) {
      await call('ioctl FICLONE', ioctl, [to, FICLONE, from]);
    },
    async renameNoReplace(from, to) {
      await call('renameat2', renameat2, [AT_FDCWD, from, AT_FDCWD, to, RENAME_NOREPLACE]);
    },
    lock(fd) {
      if (flock === undefined) throw new SystemCallError('flock', 'ENOSYS');
      if (flock(fd, LOCK_EX | LOCK_NB) < 0) throw failed('flock', koffi.errno());
    },
    duplicate(fd) {
      if (fcntl === undefined) throw new SystemCallError('fcntl', 'ENOSYS');
      const copy = Number(fcntl(fd, F_DUPFD_CLOEXEC, 'int', 0));
      if (copy < 0) throw failed('fcntl', koffi.errno());
      return copy;
    },
    event() {
      if (eventfd === undefined) throw new SystemCallError('eventfd', 'ENOSYS');
      const fd = Number(eventfd(0, EFD_FLAGS));
      if (fd < 0) throw failed('eventfd', koffi.errno());
      return fd;
    },
  };
}
