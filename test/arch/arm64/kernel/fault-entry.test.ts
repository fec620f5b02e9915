/** From aborts to signals and questions about VMAs. @see Linux arch/arm64/mm/fault.c, `fault_info` */
import { describe, expect, it } from 'vitest';
import { Access } from '../../../../src/arch/access.ts';
import { Reason } from '../../../../src/arch/arm64/fault-reasons.ts';
import { accessError, decodeFault } from '../../../../src/arch/arm64/kernel/fault-entry.ts';
import { FaultKind, FaultSlot } from '../../../../src/arch/fault.ts';
import { AccessVerdict, EntryKind, PageFaultInfo } from '../../../../src/arch/kernel-arch.ts';
import { VmAccess } from '../../../../src/arch/vm-access.ts';
import { fromHalves, highHalf, lowHalf } from '../../../../src/base/u64.ts';

const FEATURES = { taskSizePages: 2 ** 36, pageShift: 12, taggedFar: false };

interface Fault {
  readonly kind: FaultKind;
  readonly access?: number;
  readonly level?: number;
  readonly address?: bigint;
  readonly reasons?: number;
}

function decoded(asked: Fault, features = FEATURES) {
  const { kind, access = Access.User, level = 1, address = 0x5678n, reasons = 0 } = asked;
  const fault = new FaultSlot();
  fault.reasons = reasons;
  fault.kind = kind;
  fault.access = access;
  fault.level = level;
  fault.addressHi = highHalf(address);
  fault.addressLo = lowHalf(address);
  const info = new PageFaultInfo();
  decodeFault(fault, features, info);
  return info;
}

const addressOf = (info: PageFaultInfo): bigint => fromHalves(info.addressHi, info.addressLo);

describe('an abort that asks about a VMA', () => {
  it.each<[string, Fault, Partial<PageFaultInfo>]>([
    [
      'a read',
      { kind: FaultKind.NotPresent },
      { write: false, instruction: false, user: true, protection: false },
    ],
    ['a write', { kind: FaultKind.NotPresent, access: Access.User | Access.Write }, { write: true }],
    [
      'a fetch',
      { kind: FaultKind.NotPresent, access: Access.User | Access.Fetch },
      { instruction: true, write: false },
    ],
    [
      'a store without permission',
      { kind: FaultKind.Permission, access: Access.User | Access.Write },
      { protection: true },
    ],
    ['the Access flag', { kind: FaultKind.AccessFlag }, { protection: false }],
    [
      'a copy of the kernel',
      { kind: FaultKind.NotPresent, access: Access.Unprivileged | Access.Write },
      { user: false, write: true },
    ],
    // An atomic access whose walk finds nothing is reported as a read.
    [
      'an atomic access',
      { kind: FaultKind.NotPresent, access: Access.User | Access.Write | Access.Atomic },
      { write: false },
    ],
    // ESR_EL1.WnR is 1 for all cache maintenance; `is_write_abort` asks for CM as well.
    [
      'cache maintenance',
      { kind: FaultKind.NotPresent, reasons: Reason.Maintenance },
      { write: false, instruction: false, user: true },
    ],
    [
      'cache maintenance without permission',
      { kind: FaultKind.Permission, access: Access.User | Access.Write, reasons: Reason.Maintenance },
      { write: false, protection: true },
    ],
    [
      'DC ZVA, which is a store',
      { kind: FaultKind.NotPresent, access: Access.User | Access.Write | Access.ZeroBlock },
      { write: true },
    ],
    ['level -1', { kind: FaultKind.NotPresent, level: 5 }, { beyondUser: false }],
  ])('%s', (_name, fault, expected) => {
    expect(decoded(fault)).toMatchObject({
      kind: EntryKind.PageFault,
      page: 5,
      beyondUser: false,
      ...expected,
    });
  });

  it.each([
    ['a tag', 0xa500_ffff_f123_4567n, 0xf_ffff_1234n, false],
    ['the last page', 0x0000_ffff_ffff_f000n, 0xf_ffff_ffffn, false],
    ['the first page after user space', 0x0001_0000_0000_0000n, 0x10_0000_0000n, true],
    ['the hole, tagged', 0x1277_0000_0000_0000n, 0x770_0000_0000n, true],
    ['the half of the kernel: no tag', 0xfff0_0000_0000_0000n, 0xf_ff00_0000_0000n, true],
  ])('the page of an address: %s', (_name, address, page, beyondUser) => {
    const info = decoded({ kind: FaultKind.NotPresent, address });
    expect(info.beyondUser).toBe(beyondUser);
    expect(`0x${info.page.toString(16)}`).toBe(`0x${page.toString(16)}`);
    expect(addressOf(info)).toBe(address);
  });
});

describe('an abort that is a signal', () => {
  const tagged = 0xa500_0000_0000_5678n;
  it.each<[string, Fault, number, number, bigint]>([
    ['alignment: SIGBUS BUS_ADRALN', { kind: FaultKind.Alignment }, 7, 1, tagged],
    [
      'a misaligned PC: the same',
      { kind: FaultKind.Alignment, access: Access.User | Access.Fetch },
      7,
      1,
      tagged,
    ],
    ['external abort of data: SIGBUS BUS_OBJERR, no tag', { kind: FaultKind.Bus, level: 0 }, 7, 3, 0x5678n],
    ['external abort of a walk: SIGKILL', { kind: FaultKind.Bus, level: 2 }, 9, 0x80, 0x5678n],
    ['the same at level -1', { kind: FaultKind.Bus, level: 5 }, 9, 0x80, 0x5678n],
    ['address size: SIGKILL', { kind: FaultKind.AddressSize, level: 3 }, 9, 0x80, 0x5678n],
    ['the same at level -1', { kind: FaultKind.AddressSize, level: 5 }, 9, 0x80, 0x5678n],
    [
      'tag check: SIGSEGV SEGV_MTESERR, bits 59:56 only',
      { kind: FaultKind.TagCheck },
      11,
      9,
      0x0500_0000_0000_5678n,
    ],
    ['UNDEFINED: SIGILL ILL_ILLOPC', { kind: FaultKind.Undefined }, 4, 1, 0n],
  ])('%s', (_name, fault, signal, code, address) => {
    const info = decoded({ ...fault, address: tagged });
    expect(info).toMatchObject({ kind: EntryKind.Signal, signal, code });
    expect(addressOf(info)).toBe(address);
  });

  it('FEAT_MTE_TAGGED_FAR: all tag bits of a failed tag check are the pointer’s', () => {
    const info = decoded({ kind: FaultKind.TagCheck, address: tagged }, { ...FEATURES, taggedFar: true });
    expect(addressOf(info)).toBe(tagged);
  });
});

describe('what a VMA must allow', () => {
  const { Read, Write, Exec } = VmAccess;
  const { Allowed, Denied } = AccessVerdict;
  const read: Fault = { kind: FaultKind.NotPresent };
  const write: Fault = { kind: FaultKind.NotPresent, access: Access.User | Access.Write };
  const fetch: Fault = { kind: FaultKind.NotPresent, access: Access.User | Access.Fetch };
  it.each([
    ['reads may read what can be read', read, Read, true, Allowed],
    ['or written', read, Write, true, Allowed],
    ['not what is only executable (EPAN)', read, Exec, true, Denied],
    ['unless the processor lacks EPAN', read, Exec, false, Allowed],
    ['not what allows nothing', read, 0, false, Denied],
    ['writes need write', write, Read | Exec, true, Denied],
    ['and nothing else', write, Write, true, Allowed],
    // As recorded: no page is faulted in for such a fetch.
    ['fetches need exec, even before the page is there', fetch, Read | Write, true, Denied],
    ['and nothing else', fetch, Exec, true, Allowed],
  ])('%s', (_name, fault, vmFlags, epan, verdict) => {
    expect(accessError(decoded(fault), vmFlags, epan)).toBe(verdict);
  });
});
