/**
 * Numbers of protection keys that user space and every architecture share; what an architecture does with keys is
 * `ProtectionKeys` of kernel-arch.ts.
 * @see Linux include/uapi/asm-generic/mman-common.h; Documentation/core-api/protection-keys.rst
 */

/** Rights that a key can take away. */
export const PKEY_DISABLE_ACCESS = 1;
export const PKEY_DISABLE_WRITE = 2;

/** What pkey_alloc answers where it has no key to give: a negative errno. */
export const PKEY_EINVAL = -22;
export const PKEY_ENOSPC = -28;
