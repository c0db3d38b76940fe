/** The Debian packages that the whole set of tests needs beyond npm, and why. */
export const debianPackages = {
  'btrfs-progs': 'mkfs.btrfs: the file driver on btrfs (reflinks)',
  chromium: 'the browser that the page is tested in',
  curl: 'the curl lines that the page and the documents show; a peer in benchmarks',
  e2fsprogs: 'mke2fs: real filesystem images; the file driver on ext4',
  fish: 'its completion script is tried in it',
  'fonts-dejavu-core': 'a font, without which chromium draws empty boxes',
  iproute2: 'ip: network namespaces, to cut a network',
  mount: 'loop devices with 512 and 4096 byte sectors',
  'nginx-light': 'the proxy in front, and the peer in benchmarks',
  procps: 'ps: who is still running after a crash test',
  'qemu-utils': 'qemu-img: files of every format, and what it says of them',
  strace: 'counts the bytes that are really read from a sparse file',
  'util-linux': 'setpriv, losetup, unshare',
  xfsprogs: 'mkfs.xfs: the file driver on xfs (reflinks)',
  'xz-utils': 'xz: files that it packed are unpacked',
  zsh: 'its completion script is tried in it',
} as const satisfies Record<string, string>;
