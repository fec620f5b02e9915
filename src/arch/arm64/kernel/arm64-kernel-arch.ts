/**
 * Linux's arm64 code behind the `KernelArch` seam: CPUs set up as the kernel sets them up, and the parts of this folder
 * put together. Pages of 4 KiB; addresses of 48 bits (4 levels) or 52 (5 levels, FEAT_LPA2).
 * Left out: page-table isolation, the kernel's own mappings (a kernel address has no translation), permission overlays,
 * guarded control stacks, PAN without hardware support.
 */
import type { Task } from '../../../base/task.ts';
import { tlbKey } from '../../../hardware/footprint-keys.ts';
import type { Machine } from '../../../hardware/machine.ts';
import type { Retention, TlbProfile } from '../../../hardware/retention.ts';
import { Access } from '../../access.ts';
import type { AccessVerdict, KernelArch, MmContext, PageFaultInfo, VmFlagBits } from '../../kernel-arch.ts';
import { EntryFlag } from '../../paging-format.ts';
import type { TagInstructions } from '../../tag-instructions.ts';
import type { MemoryTags, TaggedAddressControl, ThreadState } from '../../thread-state.ts';
import { type Arm64Features, QEMU_10_0 } from '../features.ts';
import { Arm64Mmu } from '../mmu.ts';
import { Arm64TagInstructions } from '../mte/tag-operations.ts';
import { ShareabilityDomain } from '../shareability-domain.ts';
import type { TlbiOperation } from '../tlbi.ts';
import { Arm64MmContext, AsidAllocator } from './asid.ts';
import { ContiguousPtes } from './contpte.ts';
import { setUpCpu } from './cpu-setup.ts';
import { accessError, decodeFault, type FaultFeatures } from './fault-entry.ts';
import { instructionProbes } from './instruction-probes.ts';
import {
  calcVmFlagBits,
  calcVmProtBits,
  dataDefaultFlags,
  type MmanFeatures,
  protectionMask,
  validateFlags,
  validateProt,
  vmFlagLetters,
  vmFlagsClear,
} from './mman.ts';
import { MteTags } from './mte.ts';
import { Arm64PagingFormat } from './paging-format.ts';
import { KeysWithoutOverlays } from './protection-keys.ts';
import { noncached, pageProtection } from './protection-map.ts';
import { type Arm64KernelCpu, switchMm } from './switch-mm.ts';
import { ThreadSwitch } from './thread-switch.ts';
import { TlbFlush, type TlbMaintenance } from './tlb-flush.ts';
import { TranslationTables } from './translation-tables.ts';
import { untaggedAddress } from './untagged-address.ts';

export interface Arm64KernelArchOptions {
  readonly machine: Machine;
  /** A zeroed frame: the root table of init_mm, and the empty table that TTBR0_EL1 points to without a process. */
  readonly initRootFrame: number;
  /** Default: the machine of the recorded traces. */
  readonly features?: Arm64Features;
  /** Default 4: addresses of 48 bits. 5: of 52 bits, which needs FEAT_LPA2 for 4 KiB. */
  readonly levels?: 4 | 5;
  readonly retention?: Retention;
  readonly tlbProfile?: TlbProfile;
  /** Bits of an ASID; default: as the CPU. Fewer make new generations frequent. */
  readonly asidBits?: number;
}

const PAGE_SHIFT = 12;
/** DEFAULT_MAP_WINDOW: 2^48 bytes. */
const MAP_WINDOW_PAGES = 2 ** (48 - PAGE_SHIFT);

/** The instructions as the CPUs' domain executes them: features were asked for before they are used. */
class DomainMaintenance implements TlbMaintenance {
  readonly #domain: ShareabilityDomain;
  readonly #machine: Machine;

  constructor(domain: ShareabilityDomain, machine: Machine) {
    this.#domain = domain;
    this.#machine = machine;
  }

  /** Of every CPU: what reaches fewer is rare. */
  #noteTlbs(): void {
    const { footprint, cpus } = this.#machine;
    if (!footprint.enabled) return;
    for (const { id } of cpus) footprint.write(tlbKey(id));
  }

  tlbi(cpu: number, operation: TlbiOperation, xt: bigint): void {
    this.#noteTlbs();
    const refused = this.#domain.tlbi(cpu, operation, xt);
    if (refused !== null) throw new Error(refused);
  }

  dsbIsh(cpu: number): void {
    this.#noteTlbs();
    this.#domain.dsb(cpu, 'ISH');
  }
}

export class Arm64KernelArch implements KernelArch {
  readonly name = 'arm64';
  readonly format: Arm64PagingFormat;
  readonly contiguousEntries: ContiguousPtes;
  readonly probes = instructionProbes;
  readonly taskSizePages: number;
  readonly mapWindowPages = MAP_WINDOW_PAGES;
  readonly stackTopMaxPages = MAP_WINDOW_PAGES;
  readonly mmus: readonly Arm64Mmu[];
  readonly machine: Machine;
  readonly features: Arm64Features;
  readonly cpus: readonly Arm64KernelCpu[];
  readonly initMm: Arm64MmContext;
  readonly asids: AsidAllocator;
  /** The CPUs' TLB maintenance. */
  readonly domain: ShareabilityDomain;
  readonly hardwareDirty: boolean;
  /** `cpu_has_hw_af`: an old entry costs no fault. */
  readonly wantsOldPrefaultedPte: boolean;
  readonly flushesAgedPte = true;
  readonly vmShadowStackHigh = 0;
  readonly vmFlagsClear = vmFlagsClear;
  readonly dataDefaultFlags = dataDefaultFlags;
  readonly legacyMapFlags = 0;
  readonly vmFlagLetters = vmFlagLetters;
  readonly protectionMask = protectionMask;
  readonly protectionKeys = new KeysWithoutOverlays();
  readonly taggedAddressControl: TaggedAddressControl;
  readonly memoryTags: MemoryTags | null;
  readonly tagInstructions: readonly TagInstructions[] | null;
  readonly userCopyAccess = Access.Unprivileged;
  readonly #mapping: MmanFeatures;
  readonly #faults: FaultFeatures;
  readonly #epan: boolean;
  readonly #flush: TlbFlush;
  readonly #threads: ThreadSwitch;

  /** @throws RangeError when 5 levels are asked for and the CPU has no 52-bit addresses with pages of 4 KiB */
  constructor(options: Arm64KernelArchOptions) {
    const { machine, initRootFrame, features = QEMU_10_0, levels = 4, retention = 'profile' } = options;
    if (levels === 5 && !features.lpa2Granule4k) throw new RangeError('5 levels on a CPU without FEAT_LPA2');
    this.machine = machine;
    this.features = features;
    this.format = new Arm64PagingFormat({ granule: PAGE_SHIFT, addressSize: levels === 5 ? 52 : 48 });
    this.contiguousEntries = new ContiguousPtes(this.format);
    this.taskSizePages = 2 ** (this.format.addressSize - PAGE_SHIFT);
    this.hardwareDirty = features.hafdbs >= 2;
    this.wantsOldPrefaultedPte = features.hafdbs >= 1;
    this.#epan = features.pan >= 3;
    this.#mapping = { bti: features.bti, mte: features.mte >= 2 };
    const { taskSizePages } = this;
    this.#faults = { taskSizePages, pageShift: PAGE_SHIFT, taggedFar: features.mteTaggedFar };
    this.initMm = new Arm64MmContext('init_mm', initRootFrame, machine.cpus.length);
    const { tlbProfile, asidBits = features.asidBits } = options;
    this.asids = new AsidAllocator({ cpus: machine.cpus.length, bits: asidBits, parts: machine.parts });
    this.mmus = machine.cpus.map(() => {
      const profile = tlbProfile === undefined ? {} : { profile: tlbProfile };
      const make = (): Arm64Mmu => new Arm64Mmu(machine.memory, { features, retention, ...profile });
      return machine.parts.take('arm64 mmu', make, (mmu) => mmu.renew());
    });
    const { profile } = machine;
    this.domain = new ShareabilityDomain(this.mmus, {
      costs: {
        complete: profile.cycles('invalidatePage'),
        perTarget: profile.cycles('invalidatePerTarget'),
        charge: (cpu, cycles) => machine.cpu(cpu).advance(cycles),
      },
    });
    this.#flush = new TlbFlush(new DomainMaintenance(this.domain, machine), {
      granule: PAGE_SHIFT,
      lpa2: levels === 5,
      range: features.tlbiRange,
      levelHints: features.ttl,
    });
    this.cpus = this.#setUpCpus(initRootFrame);
    const tagFeatures = { mte: features.mte >= 2, asymm: features.mte >= 3 };
    this.#threads = new ThreadSwitch(this.mmus, tagFeatures, machine.seed);
    this.taggedAddressControl = this.#threads;
    const { tags } = machine.memory;
    this.memoryTags = tags === null ? null : new MteTags(tags, this.#threads);
    this.tagInstructions = tags === null ? null : this.mmus.map((mmu) => new Arm64TagInstructions(mmu));
  }

  #setUpCpus(initRootFrame: number): Arm64KernelCpu[] {
    return this.machine.cpus.map((cpu, id) => {
      const mmu = this.mmus[id] as Arm64Mmu;
      setUpCpu(mmu.state, this.features, this.format);
      const port = new TranslationTables(mmu, this.domain, id, initRootFrame);
      return { cpu, port, initMm: this.initMm, activeMm: this.initMm };
    });
  }

  createMmContext(name: string, rootFrame: number): Arm64MmContext {
    return new Arm64MmContext(`context ${name}`, rootFrame, this.machine.cpus.length);
  }

  /** @throws Error when a CPU still has it loaded */
  destroyMmContext(context: MmContext): void {
    const cpu = this.cpus.findIndex(({ activeMm }) => activeMm === context);
    if (cpu >= 0) throw new Error(`${context.name} is loaded on cpu ${cpu}`);
  }

  /** A kernel thread keeps what is loaded: nothing to do. */
  *switchMm(cpu: number, next: MmContext | null): Task<void> {
    if (next !== null) yield* switchMm(this.asids, this.#cpu(cpu), next as Arm64MmContext);
  }

  flushTlbRange(
    cpu: number,
    context: MmContext,
    startPage: number,
    endPage: number,
    strideShift: number,
    freedTables: boolean,
    mixedLevels = false,
  ): Task<void> {
    const asid = this.#asid(context);
    return this.#flush.range(cpu, asid, startPage, endPage, strideShift, freedTables, mixedLevels);
  }

  flushTlbPage(cpu: number, context: MmContext, page: number): Task<void> {
    return this.#flush.page(cpu, this.#asid(context), page);
  }

  flushTlbMm(cpu: number, context: MmContext): Task<void> {
    return this.#flush.mm(cpu, this.#asid(context));
  }

  /** Nothing: whoever allows more flushes, so that no CPU has an old entry once the lock of the table is free. */
  *flushSpuriousFault(_cpu: number, _context: MmContext, _page: number): Task<void> {}

  /**
   * The processor does not look again when a cached entry refuses a write, so the entry must go.
   * @see arch/arm64/mm/fault.c, `__ptep_set_access_flags`
   */
  *flushAccessFlags(cpu: number, context: MmContext, page: number, dirty: boolean): Task<void> {
    if (dirty) yield* this.#flush.page(cpu, this.#asid(context), page);
  }

  pageProtection(vmFlags: number, vmFlagsHigh: number): number {
    return pageProtection(vmFlags, vmFlagsHigh, { epan: this.#epan });
  }

  noncached(protection: number): number {
    return noncached(protection);
  }

  writableFlags(_vmFlags: number, _vmFlagsHigh: number): number {
    return EntryFlag.Write;
  }

  validateProt(prot: number): boolean {
    return validateProt(prot, this.#mapping);
  }

  calcVmProtBits(prot: number): VmFlagBits {
    return calcVmProtBits(prot, this.#mapping);
  }

  calcVmFlagBits(memoryBacked: boolean): VmFlagBits {
    return calcVmFlagBits(memoryBacked, this.#mapping);
  }

  validateFlags(_vmFlags: number, vmFlagsHigh: number): boolean {
    return validateFlags(vmFlagsHigh, this.#mapping);
  }

  createThread(name: string, parent: ThreadState | null): ThreadState {
    return this.#threads.create(name, parent);
  }

  switchThread(cpu: number, next: ThreadState): void {
    this.#threads.switchTo(cpu, next);
  }

  /** Taking an exception synchronizes the context. */
  enterFromUserMode(cpu: number): void {
    this.domain.synchronizeContext(cpu);
    this.#threads.enter(cpu);
  }

  /** And so does returning from it. */
  exitToUserMode(cpu: number): void {
    this.#threads.exit(cpu);
    this.domain.synchronizeContext(cpu);
  }

  untaggedSignalAddress(address: bigint, _signal: number, _code: number): bigint {
    return untaggedAddress(address);
  }

  untaggedAddress(_cpu: number, address: bigint): bigint {
    return untaggedAddress(address);
  }

  untaggedAddressRemote(_context: MmContext, address: bigint): bigint {
    return untaggedAddress(address);
  }

  accessOkAddress(cpu: number, address: bigint): bigint {
    return this.#threads.ignoresTags(cpu) ? untaggedAddress(address) : address;
  }

  /** Tag checks only: LDTR and STTR have the rights of user mode and are not subject to PAN. */
  beginUserAccess(cpu: number): void {
    this.#threads.beginUserAccess(cpu);
  }

  endUserAccess(cpu: number): void {
    this.#threads.endUserAccess(cpu);
  }

  faultInfo(cpu: number, out: PageFaultInfo): void {
    decodeFault(this.#mmu(cpu).fault, this.#faults, out);
  }

  accessError(info: PageFaultInfo, vmFlags: number, _vmFlagsHigh: number): AccessVerdict {
    return accessError(info, vmFlags, this.#epan);
  }

  /** No permission overlays. */
  vmaAccessPermitted(): boolean {
    return true;
  }

  #asid(context: MmContext): number {
    return this.asids.asidOf(context as Arm64MmContext);
  }

  #cpu(cpu: number): Arm64KernelCpu {
    const own = this.cpus[cpu];
    if (own === undefined) throw new Error(`no cpu ${cpu}`);
    return own;
  }

  #mmu(cpu: number): Arm64Mmu {
    const mmu = this.mmus[cpu];
    if (mmu === undefined) throw new Error(`no cpu ${cpu}`);
    return mmu;
  }
}
