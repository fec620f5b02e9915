/**
 * Why a translation does not allow an access, as bits of `FaultSlot.reasons`: what a fault's syndrome and reports are
 * made from. Several may hold.
 */
export const Reason = {
  /** No EL0 access: AP[1] = 0, or APTable[0] = 1 above. */
  NoEl0Access: 1 << 0,
  /** Not writable: AP[2] = 1 and not writable-clean, or APTable[1] = 1 above. */
  ReadOnly: 1 << 1,
  /** Fetch at EL1, PXN = 1 or PXNTable = 1 above. */
  Pxn: 1 << 2,
  /** Fetch at EL0, UXN = 1 or UXNTable = 1 above. */
  Uxn: 1 << 3,
  /** Fetch at EL1 from memory that EL0 can write. */
  WritableAtEl0: 1 << 4,
  /** Fetch from memory that is writable at the same Exception level, SCTLR_EL1.WXN = 1. */
  Wxn: 1 << 5,
  /** Data access at EL1 to memory that EL0 can access, PSTATE.PAN = 1. */
  Pan: 1 << 6,
  /** The same for memory that EL0 can only execute, SCTLR_EL1.EPAN = 1. */
  Epan: 1 << 7,
  /** The field of PIR_EL1 or PIRE0_EL1 does not grant the access. */
  Indirection: 1 << 8,
  /** Both fields become "no access": EL1 may execute what EL0 may write, or a Guarded Control Stack. */
  IndirectionConflict: 1 << 9,
  /** The field of POR_EL1 or POR_EL0 does not grant the access: reported as ESR_EL1.Overlay. */
  Overlay: 1 << 10,
  /** The write would have to set dirty state, which hardware does not manage: reported as ESR_EL1.DirtyBit. */
  DirtyBit: 1 << 11,
  /** Of an atomic access only the write is denied: reported as a write, while it is otherwise reported as a read. */
  WriteOfAtomic: 1 << 12,
  /** TCR_EL1.E0PDn: unprivileged accesses to this half fault. A Translation fault. */
  E0pd: 1 << 13,
  /** TCR_EL1.EPDn: no walks in this half. A Translation fault. */
  Epd: 1 << 14,
  /** TCR_EL1.TnSZ is outside the range of the granule. A Translation fault. */
  RegionSize: 1 << 15,
  /** The address is outside the region that TnSZ describes. A Translation fault. */
  OutOfRegion: 1 << 16,
  /** The address of the first table, in TTBRn_EL1, is wider than the output address size. An Address size fault. */
  TableBase: 1 << 17,
  /** Alignment: the memory is of a Device type. */
  DeviceMemory: 1 << 18,
  /** Alignment: of the PC (fetches), or SCTLR_EL1.A = 1, or an access that must be aligned whatever the memory. */
  MustBeAligned: 1 << 19,
  /** Alignment: of SP as a base register, SCTLR_EL1.SA or SA0 = 1. An exception class of its own. */
  StackPointer: 1 << 20,
  /**
   * Not of an access but of an instruction that names an address, AT or cache maintenance by VA: reported as ESR_EL1.CM
   * and as a write.
   */
  Maintenance: 1 << 21,
} as const;

export const REASON_NAMES: Readonly<Record<number, string>> = {
  [Reason.NoEl0Access]: 'no access at EL0 (AP[1]=0 or APTable[0]=1)',
  [Reason.ReadOnly]: 'read-only (AP[2]=1 or APTable[1]=1)',
  [Reason.Pxn]: 'not executable at EL1 (PXN=1 or PXNTable=1)',
  [Reason.Uxn]: 'not executable at EL0 (UXN=1 or UXNTable=1)',
  [Reason.WritableAtEl0]: 'writable at EL0, so not executable at EL1',
  [Reason.Wxn]: 'writable, so not executable (SCTLR_EL1.WXN=1)',
  [Reason.Pan]: 'accessible at EL0 (PSTATE.PAN=1)',
  [Reason.Epan]: 'executable at EL0 (PSTATE.PAN=1, SCTLR_EL1.EPAN=1)',
  [Reason.Indirection]: 'not granted by the field of PIR_EL1 or PIRE0_EL1',
  [Reason.IndirectionConflict]:
    'executable (or GCS) at EL1 and writable (or GCS) at EL0, so neither (PIR_EL1, PIRE0_EL1)',
  [Reason.Overlay]: 'not granted by the overlay in POR_EL1 or POR_EL0',
  [Reason.DirtyBit]: 'dirty state is clear and hardware does not manage it (not HA=HD=1)',
  [Reason.WriteOfAtomic]: 'of the atomic access only the write is denied',
  [Reason.E0pd]: 'unprivileged accesses to this half fault (TCR_EL1.E0PDn=1)',
  [Reason.Epd]: 'no walks in this half (TCR_EL1.EPDn=1)',
  [Reason.RegionSize]: 'TCR_EL1.TnSZ is out of range',
  [Reason.OutOfRegion]: 'the address is outside the region (TCR_EL1.TnSZ)',
  [Reason.TableBase]: 'the table address in TTBRn_EL1 is wider than TCR_EL1.IPS allows',
  [Reason.DeviceMemory]: 'unaligned access to Device memory',
  [Reason.MustBeAligned]: 'the address is not aligned as the access demands',
  [Reason.StackPointer]: 'SP is not a multiple of 16',
  [Reason.Maintenance]: 'of an AT or cache maintenance instruction',
};
