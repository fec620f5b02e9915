/**
 * What an access is, as one int32 of bits: the same on every architecture. A plain data read is 0.
 * `User` says with whose rights the access is made, not at which privilege level the instruction ran: WRUSS at CPL 0
 * and LDTR at EL1 are user accesses.
 */
export const Access = {
  Read: 0,
  /** A data write. A read-modify-write is a write. */
  Write: 1 << 0,
  /** An instruction fetch; never together with `Write`. */
  Fetch: 1 << 1,
  /** Made with user rights; without it with supervisor (kernel) rights. */
  User: 1 << 2,
  /** A shadow-stack access: CALL, RET, INCSSP, WRSS, WRUSS … Reads unless `Write` is given. */
  ShadowStack: 1 << 3,
  /** Through the stack segment: a non-canonical address raises #SS in place of #GP. */
  StackSegment: 1 << 4,
  /** An implicit supervisor access (descriptor tables, TSS, interrupt delivery), whatever the CPL. */
  Implicit: 1 << 5,
  /** arm64 LDTR, STTR …: the instruction runs in the kernel (EL1) and asks for user rights. Without `User`. */
  Unprivileged: 1 << 6,
  /** A read-modify-write by one instruction (LDADD, SWP, CAS): always with `Write`. */
  Atomic: 1 << 7,
  /** A block zeroed by a cache instruction (arm64 DC ZVA): always with `Write`. */
  ZeroBlock: 1 << 8,
  /** An access to Allocation Tags (LDG reads, STG writes them); not itself tag checked. */
  Tag: 1 << 9,
  /** arm64: not tag checked, because the instruction forms its address from SP and an immediate, or from PC. */
  TagUnchecked: 1 << 10,
} as const;

/** The access bits of the words a user types: `read`, `write` or `fetch`, with or without user rights. */
export function accessOf(kind: 'read' | 'write' | 'fetch', user: boolean): number {
  const how = kind === 'write' ? Access.Write : kind === 'fetch' ? Access.Fetch : Access.Read;
  return user ? how | Access.User : how;
}

/** `Access` in words, for reports: "user write (shadow stack)". */
export function describeAccess(access: number): string {
  const kind = access & Access.Fetch ? 'fetch' : access & Access.Write ? 'write' : 'read';
  const who = access & Access.User ? 'user' : access & Access.Implicit ? 'implicit supervisor' : 'supervisor';
  const how: string[] = [];
  if (access & Access.ShadowStack) how.push('shadow stack');
  if (access & Access.StackSegment) how.push('stack segment');
  if (access & Access.Unprivileged) how.push('unprivileged');
  if (access & Access.Atomic) how.push('atomic');
  if (access & Access.ZeroBlock) how.push('zero block');
  if (access & Access.Tag) how.push('allocation tag');
  if (access & Access.TagUnchecked) how.push('tag unchecked');
  return how.length === 0 ? `${who} ${kind}` : `${who} ${kind} (${how.join(', ')})`;
}
