/**
 * What a task may do: user and group ids, capabilities, and the rules by which `setuid` changes them.
 * Left out: user namespaces (there is one), supplementary groups, secure bits, ambient and inheritable sets.
 */

/** Capability numbers, `include/uapi/linux/capability.h`; those that a modelled path asks for. */
export const CAP_KILL = 5;
export const CAP_SETUID = 7;
export const CAP_IPC_LOCK = 14;
export const CAP_SYS_RAWIO = 17;
export const CAP_SYS_PTRACE = 19;
export const CAP_SYS_ADMIN = 21;
export const CAP_SYS_NICE = 23;
export const CAP_SYS_RESOURCE = 24;
/** The highest capability number, CAP_CHECKPOINT_RESTORE. */
export const CAP_LAST_CAP = 40;

const GLOBAL_ROOT_UID = 0;

/** Never changed once published: a task gets a new one, as `commit_creds` replaces `task->cred`. */
export interface Credentials {
  readonly uid: number;
  readonly euid: number;
  readonly suid: number;
  readonly fsuid: number;
  readonly gid: number;
  readonly egid: number;
  readonly sgid: number;
  readonly fsgid: number;
  readonly capEffective: ReadonlySet<number>;
  readonly capPermitted: ReadonlySet<number>;
}

const NO_CAPABILITIES: ReadonlySet<number> = new Set<number>();

const ALL_CAPABILITIES: ReadonlySet<number> = new Set(Array.from({ length: CAP_LAST_CAP + 1 }, (_, n) => n));

/** Credentials of root: every capability but `without`. */
export function rootCredentials(without: readonly number[] = []): Credentials {
  if (without.length === 0) return credentials(GLOBAL_ROOT_UID, GLOBAL_ROOT_UID, ALL_CAPABILITIES);
  const all = new Set<number>();
  for (let capability = 0; capability <= CAP_LAST_CAP; capability++) {
    if (!without.includes(capability)) all.add(capability);
  }
  return credentials(GLOBAL_ROOT_UID, GLOBAL_ROOT_UID, all);
}

/** Credentials with all four user ids `uid`, all four group ids `gid`, and one set of capabilities. */
export function credentials(
  uid: number,
  gid: number,
  capabilities: ReadonlySet<number> = NO_CAPABILITIES,
): Credentials {
  return {
    uid,
    euid: uid,
    suid: uid,
    fsuid: uid,
    gid,
    egid: gid,
    sgid: gid,
    fsgid: gid,
    capEffective: capabilities,
    capPermitted: capabilities,
  };
}

const hasRoot = (cred: Credentials): boolean =>
  cred.uid === GLOBAL_ROOT_UID || cred.euid === GLOBAL_ROOT_UID || cred.suid === GLOBAL_ROOT_UID;

/**
 * The capability side of a change of user ids: leaving root altogether drops both sets, a change of the effective
 * id away from or back to root drops or restores the effective set.
 * @see Linux security/commoncap.c, `cap_emulate_setxuid`; capabilities(7), "Effect of user ID changes on capabilities"
 */
function emulateSetuid(before: Credentials, after: Credentials): Credentials {
  let { capEffective, capPermitted } = after;
  if (hasRoot(before) && !hasRoot(after)) {
    capEffective = NO_CAPABILITIES;
    capPermitted = NO_CAPABILITIES;
  }
  if (before.euid === GLOBAL_ROOT_UID && after.euid !== GLOBAL_ROOT_UID) capEffective = NO_CAPABILITIES;
  if (before.euid !== GLOBAL_ROOT_UID && after.euid === GLOBAL_ROOT_UID) capEffective = capPermitted;
  return { ...after, capEffective, capPermitted };
}

/**
 * The credentials after `setuid(uid)`, or null where it is refused (EPERM).
 * @see Linux kernel/sys.c, `__sys_setuid`; setuid(2)
 */
export function credentialsAfterSetuid(before: Credentials, uid: number): Credentials | null {
  if (before.capEffective.has(CAP_SETUID)) {
    return emulateSetuid(before, { ...before, uid, euid: uid, suid: uid, fsuid: uid });
  }
  if (uid !== before.uid && uid !== before.suid) return null;
  return emulateSetuid(before, { ...before, euid: uid, fsuid: uid });
}

/** Does `subset` lie wholly inside `superset`? */
export function isCapabilitySubset(subset: ReadonlySet<number>, superset: ReadonlySet<number>): boolean {
  for (const capability of subset) if (!superset.has(capability)) return false;
  return true;
}

/**
 * Does a change of credentials make the address space non-dumpable?
 * @see Linux kernel/cred.c, `commit_creds`
 */
export function clearsDumpable(before: Credentials, after: Credentials): boolean {
  return (
    before.euid !== after.euid ||
    before.egid !== after.egid ||
    before.fsuid !== after.fsuid ||
    before.fsgid !== after.fsgid ||
    !isCapabilitySubset(after.capPermitted, before.capPermitted)
  );
}
