/** Which faults a VMA forbids, and what a fault says. @see Linux arch/x86/mm/fault.c, `access_error` */
import { describe, expect, it } from 'vitest';
import { Access } from '../../../../src/arch/access.ts';
import { FaultKind, FaultSlot } from '../../../../src/arch/fault.ts';
import { AccessVerdict, EntryKind, PageFaultInfo } from '../../../../src/arch/kernel-arch.ts';
import { EntryFlag } from '../../../../src/arch/paging-format.ts';
import { VmAccess } from '../../../../src/arch/vm-access.ts';
import { accessError, decodeFault, pkruAllows } from '../../../../src/arch/x86_64/kernel/fault-entry.ts';
import {
  pageProtection,
  VMH_SHADOW_STACK,
  writableFlags,
} from '../../../../src/arch/x86_64/kernel/protection-map.ts';
import { VM_EXEC, VM_READ, VM_SHARED, VM_WRITE } from '../../../../src/kernel/mm/vma-flags.ts';
import { SI_KERNEL, SIGBUS, SIGSEGV } from '../../../../src/kernel/signal.ts';

const NONE = 0;
const KEY_1 = 1;

interface Row {
  readonly name: string;
  readonly info: Partial<PageFaultInfo>;
  readonly flags: number;
  readonly high?: number;
  readonly want: AccessVerdict;
}
const { Allowed, Denied, DeniedByKey } = AccessVerdict;

const ROWS: readonly Row[] = [
  { name: 'read of a missing page, readable VMA', info: {}, flags: VM_READ, want: Allowed },
  { name: 'read, write-only VMA: writable implies readable', info: {}, flags: VM_WRITE, want: Allowed },
  { name: 'read, exec-only VMA', info: {}, flags: VM_EXEC, want: Allowed },
  { name: 'read, PROT_NONE', info: {}, flags: NONE, want: Denied },
  { name: 'read that a present entry refused', info: { protection: true }, flags: VM_READ, want: Denied },
  { name: 'write, read-only VMA', info: { write: true }, flags: VM_READ, want: Denied },
  { name: 'write, exec-only VMA', info: { write: true }, flags: VM_EXEC, want: Denied },
  {
    name: 'write on a present page of a writable VMA',
    info: { write: true, protection: true },
    flags: VM_READ | VM_WRITE,
    want: Allowed,
  },
  {
    name: 'fetch of a missing page, VMA not executable: faulted in first',
    info: { instruction: true },
    flags: VM_READ,
    want: Allowed,
  },
  {
    name: 'fetch from a present page that is not executable',
    info: { instruction: true, protection: true },
    flags: VM_READ,
    want: Denied,
  },
  {
    name: 'the processor says protection key',
    info: { protection: true, protectionKey: true },
    flags: VM_READ,
    want: DeniedByKey,
  },
  {
    name: 'missing page of a key that PKRU closes',
    info: { keyRights: 0b0100 },
    flags: VM_READ,
    high: KEY_1,
    want: DeniedByKey,
  },
  {
    name: 'missing page, key open for reading only, read',
    info: { keyRights: 0b1000 },
    flags: VM_READ,
    high: KEY_1,
    want: Allowed,
  },
  {
    name: 'missing page, key open for reading only, write',
    info: { keyRights: 0b1000, write: true },
    flags: VM_READ | VM_WRITE,
    high: KEY_1,
    want: DeniedByKey,
  },
  {
    name: 'fetch: keys do not matter',
    info: { keyRights: 0b0100, instruction: true },
    flags: VM_EXEC,
    high: KEY_1,
    want: Allowed,
  },
  {
    name: 'shadow-stack access, shadow-stack VMA',
    info: { shadowStack: true },
    flags: VM_READ | VM_WRITE,
    high: VMH_SHADOW_STACK,
    want: Allowed,
  },
  {
    name: 'shadow-stack access, ordinary VMA',
    info: { shadowStack: true },
    flags: VM_READ | VM_WRITE,
    want: Denied,
  },
  {
    name: 'shadow-stack access, shadow stack made read-only',
    info: { shadowStack: true },
    flags: VM_READ,
    high: VMH_SHADOW_STACK,
    want: Denied,
  },
  {
    name: 'ordinary write to a shadow stack',
    info: { write: true },
    flags: VM_READ | VM_WRITE,
    high: VMH_SHADOW_STACK,
    want: Denied,
  },
  {
    name: 'ordinary read of a shadow stack',
    info: {},
    flags: VM_READ | VM_WRITE,
    high: VMH_SHADOW_STACK,
    want: Allowed,
  },
];

describe('access_error', () => {
  it.each(ROWS)('$name', ({ info, flags, high = 0, want }) => {
    expect(accessError(Object.assign(new PageFaultInfo(), info), flags, high)).toBe(want);
  });

  it('PKRU has two bits per key: access disable, write disable', () => {
    const pkru = 0x5555_5554;
    expect([pkruAllows(pkru, 0, true), pkruAllows(pkru, 1, false), pkruAllows(pkru, 15, false)]).toEqual([
      true,
      false,
      false,
    ]);
    expect([pkruAllows(0x8000_0000, 15, false), pkruAllows(0x8000_0000, 15, true)]).toEqual([true, false]);
  });
});

describe('decodeFault', () => {
  const TASK_SIZE = 2 ** 35 - 1;
  function decoded(fault: Partial<FaultSlot>): PageFaultInfo {
    const out = new PageFaultInfo();
    decodeFault(Object.assign(new FaultSlot(), fault), TASK_SIZE, 0, out);
    return out;
  }

  it('a missing page: what was tried, at which page', () => {
    const info = decoded({
      kind: FaultKind.NotPresent,
      access: Access.User | Access.Write,
      addressHi: 0x1000,
      addressLo: 0x5678,
    });
    expect(info).toMatchObject({
      kind: EntryKind.PageFault,
      user: true,
      write: true,
      protection: false,
      page: 0x1_0000_0005,
      beyondUser: false,
    });
  });

  it.each([
    ['the last page of user space', 0x7fff, 0xffff_e000 | 0, false],
    ['the page above it, which Linux keeps empty', 0x7fff, 0xffff_f000 | 0, true],
    ['a kernel address', 0xffff_8000 | 0, 0, true],
  ])('%s', (_name, addressHi, addressLo, beyondUser) => {
    expect(
      decoded({ kind: FaultKind.NotPresent, access: Access.User, addressHi, addressLo }).beyondUser,
    ).toBe(beyondUser);
  });

  it.each([
    ['#GP', Access.User, SIGSEGV],
    ['#SS', Access.User | Access.StackSegment, SIGBUS],
  ])('a non-canonical address is %s: a signal without an address', (_name, access, signal) => {
    const info = decoded({ kind: FaultKind.NotCanonical, access, addressHi: 0x8000, addressLo: 0 });
    expect(info).toMatchObject({ kind: EntryKind.Signal, signal, code: SI_KERNEL });
  });

  it('a reserved bit in an entry is our own mistake', () => {
    expect(decoded({ kind: FaultKind.Reserved, access: Access.User }).corrupt).toBe(true);
  });
});

describe('protection_map', () => {
  const { Present, Read, Write, User, Exec, Young, Protnone, ShadowStack, Dirty } = EntryFlag;
  const R = Present | Read | User | Young;
  it.each([
    ['nothing', 0, Present | Read | Protnone | Young],
    ['r', VM_READ, R],
    ['w private', VM_WRITE, R],
    ['rw private: no Write, so that the first store copies', VM_READ | VM_WRITE, R],
    ['x', VM_EXEC, R | Exec],
    ['wx private', VM_WRITE | VM_EXEC, R | Exec],
    ['shared, nothing', VM_SHARED, Present | Read | Protnone | Young],
    ['r shared', VM_SHARED | VM_READ, R],
    ['rw shared', VM_SHARED | VM_READ | VM_WRITE, R | Write],
    ['rwx shared', VM_SHARED | VM_READ | VM_WRITE | VM_EXEC, R | Write | Exec],
  ])('%s', (_name, flags, want) => {
    expect(pageProtection(flags, 0)).toBe(want);
  });

  it('the flag bits of the seam are those of the kernel', () => {
    expect(VmAccess).toEqual({ Read: VM_READ, Write: VM_WRITE, Exec: VM_EXEC, Shared: VM_SHARED });
  });

  it('a shadow stack becomes "writable" as dirty without RW', () => {
    expect(writableFlags(VMH_SHADOW_STACK)).toBe(ShadowStack | Dirty);
    expect(writableFlags(0)).toBe(Write);
  });
});
