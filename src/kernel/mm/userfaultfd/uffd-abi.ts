/**
 * Constants of userfaultfd with user space's values.
 * @see Linux include/uapi/linux/userfaultfd.h
 */

export const UFFD_API = 0xaan;

/** Flags of the system call. */
export const UFFD_USER_MODE_ONLY = 1;
export const O_NONBLOCK = 0o4000;
export const O_CLOEXEC = 0o2000000;

export const UFFD_FEATURE_PAGEFAULT_FLAG_WP = 1 << 0;
export const UFFD_FEATURE_EVENT_FORK = 1 << 1;
export const UFFD_FEATURE_EVENT_REMAP = 1 << 2;
export const UFFD_FEATURE_EVENT_REMOVE = 1 << 3;
export const UFFD_FEATURE_MISSING_HUGETLBFS = 1 << 4;
export const UFFD_FEATURE_MISSING_SHMEM = 1 << 5;
export const UFFD_FEATURE_EVENT_UNMAP = 1 << 6;
export const UFFD_FEATURE_SIGBUS = 1 << 7;
export const UFFD_FEATURE_THREAD_ID = 1 << 8;
export const UFFD_FEATURE_MINOR_HUGETLBFS = 1 << 9;
export const UFFD_FEATURE_MINOR_SHMEM = 1 << 10;
export const UFFD_FEATURE_EXACT_ADDRESS = 1 << 11;
export const UFFD_FEATURE_WP_HUGETLBFS_SHMEM = 1 << 12;
export const UFFD_FEATURE_WP_UNPOPULATED = 1 << 13;
export const UFFD_FEATURE_POISON = 1 << 14;
export const UFFD_FEATURE_WP_ASYNC = 1 << 15;
export const UFFD_FEATURE_MOVE = 1 << 16;

/** Every feature that 6.18 has on the two architectures. */
export const UFFD_API_FEATURES =
  UFFD_FEATURE_PAGEFAULT_FLAG_WP |
  UFFD_FEATURE_EVENT_FORK |
  UFFD_FEATURE_EVENT_REMAP |
  UFFD_FEATURE_EVENT_REMOVE |
  UFFD_FEATURE_MISSING_HUGETLBFS |
  UFFD_FEATURE_MISSING_SHMEM |
  UFFD_FEATURE_EVENT_UNMAP |
  UFFD_FEATURE_SIGBUS |
  UFFD_FEATURE_THREAD_ID |
  UFFD_FEATURE_MINOR_HUGETLBFS |
  UFFD_FEATURE_MINOR_SHMEM |
  UFFD_FEATURE_EXACT_ADDRESS |
  UFFD_FEATURE_WP_HUGETLBFS_SHMEM |
  UFFD_FEATURE_WP_UNPOPULATED |
  UFFD_FEATURE_POISON |
  UFFD_FEATURE_WP_ASYNC |
  UFFD_FEATURE_MOVE;

/** Numbers of the ioctls: bit n of the masks that UFFDIO_API and UFFDIO_REGISTER report. */
const UFFDIO_REGISTER = 0x00;
const UFFDIO_UNREGISTER = 0x01;
const UFFDIO_WAKE = 0x02;
const UFFDIO_COPY = 0x03;
const UFFDIO_ZEROPAGE = 0x04;
const UFFDIO_MOVE = 0x05;
const UFFDIO_WRITEPROTECT = 0x06;
const UFFDIO_CONTINUE = 0x07;
const UFFDIO_POISON = 0x08;
const UFFDIO_API = 0x3f;

/** What UFFDIO_API reports. */
export const UFFD_API_IOCTLS =
  (1n << BigInt(UFFDIO_REGISTER)) | (1n << BigInt(UFFDIO_UNREGISTER)) | (1n << BigInt(UFFDIO_API));

export const WRITEPROTECT_IOCTL = 1n << BigInt(UFFDIO_WRITEPROTECT);
export const CONTINUE_IOCTL = 1n << BigInt(UFFDIO_CONTINUE);
/** What works on a range that has huge pages of hugetlbfs in it. */
export const UFFD_API_RANGE_IOCTLS_BASIC =
  (1n << BigInt(UFFDIO_WAKE)) |
  (1n << BigInt(UFFDIO_COPY)) |
  WRITEPROTECT_IOCTL |
  CONTINUE_IOCTL |
  (1n << BigInt(UFFDIO_POISON));
/** What works on any other range. */
export const UFFD_API_RANGE_IOCTLS =
  UFFD_API_RANGE_IOCTLS_BASIC | (1n << BigInt(UFFDIO_ZEROPAGE)) | (1n << BigInt(UFFDIO_MOVE));

export const UFFDIO_REGISTER_MODE_MISSING = 1n << 0n;
export const UFFDIO_REGISTER_MODE_WP = 1n << 1n;
export const UFFDIO_REGISTER_MODE_MINOR = 1n << 2n;
export const UFFD_API_REGISTER_MODES =
  UFFDIO_REGISTER_MODE_MISSING | UFFDIO_REGISTER_MODE_WP | UFFDIO_REGISTER_MODE_MINOR;

/** Of COPY, ZEROPAGE, CONTINUE, POISON and MOVE: do not wake who waits for the range. */
export const UFFDIO_MODE_DONTWAKE = 1n << 0n;
/** Of COPY and CONTINUE: map the page write-protected. */
export const UFFDIO_MODE_WP = 1n << 1n;
/** Of MOVE: nothing at a source page is no error. */
export const UFFDIO_MOVE_MODE_ALLOW_SRC_HOLES = 1n << 1n;
/** Of WRITEPROTECT. */
export const UFFDIO_WRITEPROTECT_MODE_WP = 1n << 0n;
export const UFFDIO_WRITEPROTECT_MODE_DONTWAKE = 1n << 1n;

/** `uffd_msg.event`. */
export const UFFD_EVENT_PAGEFAULT = 0x12;
export const UFFD_EVENT_FORK = 0x13;
export const UFFD_EVENT_REMAP = 0x14;
export const UFFD_EVENT_REMOVE = 0x15;
export const UFFD_EVENT_UNMAP = 0x16;

/** `uffd_msg.arg.pagefault.flags`. */
export const UFFD_PAGEFAULT_FLAG_WRITE = 1 << 0;
export const UFFD_PAGEFAULT_FLAG_WP = 1 << 1;
export const UFFD_PAGEFAULT_FLAG_MINOR = 1 << 2;

/** Bytes of a `struct uffd_msg`. */
export const UFFD_MSG_BYTES = 32;
