import { describe, expect, it } from 'vitest';
import { Access } from '../../../src/arch/access.ts';
import { FaultKind, FaultSlot } from '../../../src/arch/fault.ts';
import { faultCr2, faultErrorCode, faultVector } from '../../../src/arch/x86_64/fault-code.ts';
import { Reason } from '../../../src/arch/x86_64/permissions.ts';

function fault(kind: FaultKind, access: number, reasons = 0): FaultSlot {
  const slot = new FaultSlot();
  return Object.assign(slot, { kind, access, reasons, addressHi: 0x7fff, addressLo: 0x1234 | 0 });
}
const { User, Write, Fetch, ShadowStack, StackSegment } = Access;
const { NotPresent, Permission, Reserved, NotCanonical } = FaultKind;

describe('the page-fault error code', () => {
  it.each([
    // SDM vol. 3A, "Interrupt 14—Page-Fault Exception (#PF)", flag by flag
    ['P=0: a not-present entry, supervisor read', fault(NotPresent, 0), 0x00],
    ['W/R: a write', fault(NotPresent, Write), 0x02],
    ['U/S: a user access', fault(NotPresent, User | Write), 0x06],
    ['P=1: a protection violation', fault(Permission, User | Write, Reason.ReadOnly), 0x07],
    ['RSVD implies P', fault(Reserved, 0), 0x09],
    ['RSVD of a user write', fault(Reserved, User | Write), 0x0f],
    [
      'I/D, also of a not-present page, when NXE or SMEP is on',
      fault(NotPresent, User | Fetch, Reason.FetchIsReported),
      0x14,
    ],
    ['no I/D when both are off', fault(NotPresent, User | Fetch), 0x04],
    ['I/D with RSVD', fault(Reserved, Fetch, Reason.FetchIsReported), 0x19],
    ['PK: a key violation', fault(Permission, User, Reason.PkruAccess), 0x25],
    [
      'PK beside another violation',
      fault(Permission, User | Write, Reason.ReadOnly | Reason.PkruWrite),
      0x27,
    ],
    ['PK of IA32_PKRS', fault(Permission, Write, Reason.PksWrite), 0x23],
    ['SS: a shadow-stack access', fault(Permission, User | ShadowStack, Reason.NotShadowStack), 0x45],
    ['SS of a not-present page, a write', fault(NotPresent, User | ShadowStack | Write), 0x46],
    // #GP and #SS push 0
    ['a non-canonical address', fault(NotCanonical, User | Write), 0x00],
  ])('%s', (_, slot, code) => expect(faultErrorCode(slot)).toBe(code));

  it.each([
    ['#GP for a non-canonical address', fault(NotCanonical, 0), 13, undefined],
    ['#SS for one through the stack segment', fault(NotCanonical, StackSegment), 12, undefined],
    ['#GP for a fetch', fault(NotCanonical, Fetch), 13, undefined],
    ['#PF otherwise', fault(Permission, StackSegment), 14, 0x7fff_0000_1234n],
    ['a machine check where there is no memory', fault(FaultKind.Bus, 0), 18, undefined],
  ])('the vector is %s, and only #PF loads CR2', (_, slot, vector, cr2) => {
    expect(faultVector(slot)).toBe(vector);
    expect(faultCr2(slot)).toBe(cr2);
  });
});
