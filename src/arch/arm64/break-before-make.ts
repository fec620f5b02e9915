/**
 * Which changes of live descriptors need a break-before-make sequence (invalid descriptor, DSB, broadcast TLBI, DSB, new
 * descriptor), and which cached entries a TLBI reaches, for the check in src/check/break-before-make.ts.
 * A change needs it when one of these differs for an address that both descriptors map: memory type, Cacheability
 * (allocation hints do not count), Shareability; output address, if one of them grants writes or the memory there differs;
 * block size, without FEAT_BBM level 2 (level 1: unless the block has nT = 1); the Contiguous bit, with FEAT_BBM level 0; or
 * when a global descriptor comes where a non-global one was.
 * Left out: APTable above a leaf (a leaf that grants writes counts as writable), attributes by AttrIndx[3] (FEAT_AIE).
 * @see Arm ARM (DDI 0487), "Using break-before-make when updating translation table entries", "Support levels for
 * changing table or block size"
 */
import type { Layout } from '../../base/layout.ts';
import { fromHalves } from '../../base/u64.ts';
import type {
  EntryForm,
  Invalidation,
  InvalidationObserver,
  LiveEntry,
  LiveTableRules,
} from '../break-before-make.ts';
import { hardwareUpdates } from './address-range.ts';
import { type DataSynchronizationBarrier, isVisibleToWalkers } from './barriers.ts';
import {
  type DescriptorContext,
  descriptorAddress,
  descriptorForm,
  descriptorShift,
  type GranuleShift,
  layoutOfDescriptor,
} from './entries.ts';
import type { Arm64Features } from './features.ts';
import { names } from './invalidation.ts';
import { attributeOf, isDevice, memoryAttributeName } from './memory-attributes.ts';
import { Grant } from './permission-grants.ts';
import { indirectPermissions, permissionField } from './permission-indirection.ts';
import { TCR_EL1 } from './registers.ts';
import type { MaintenanceObserver } from './shareability-domain.ts';
import type { Arm64State } from './state.ts';
import { TCR2_EL1 } from './system-registers.ts';
import { tableShape } from './table-shape.ts';
import type { TlbiScope } from './tlbi-operands.ts';

/** Of one of the two address ranges, with the registers as they are now. */
export class Arm64LiveTableRules implements LiveTableRules {
  readonly rootLevel: number;
  readonly lastLevel = 3;
  readonly tableBytes: number;
  readonly rootBytes: number;
  readonly becomesCacheable: boolean;
  readonly outcome =
    'CONSTRAINED UNPREDICTABLE: a TLB conflict abort, or the old, the new or a mixture of both translations; ' +
    'here a CPU uses what it has cached, a page before a block';
  readonly #granule: GranuleShift;
  readonly #lpa: boolean;
  readonly #hardwareDirty: boolean;
  /** SH of the range, with TCR_EL1.DS = 1; else null: it is in the descriptor. */
  readonly #rangeShareability: bigint | null;
  /** TCR2_EL1.FNGn: nG counts as 1. */
  readonly #nonGlobal: boolean;
  readonly #indirect: boolean;
  readonly #state: Arm64State;
  readonly #bbm: 0 | 1 | 2;
  readonly #layouts = new Map<string, Layout>();

  /** @param upper the range of TTBR1_EL1 */
  constructor(state: Arm64State, features: Arm64Features, upper = false) {
    const { granule, lpa, rootLevel, rootBytes } = tableShape(state, features, upper);
    const tcr = fromHalves(state.tcrHi, state.tcrLo);
    this.#granule = granule;
    this.#lpa = lpa;
    this.rootLevel = rootLevel;
    this.tableBytes = 2 ** granule;
    this.rootBytes = rootBytes;
    const { accessFlag, dirty } = hardwareUpdates(state, features);
    this.becomesCacheable = accessFlag;
    this.#hardwareDirty = dirty;
    this.#rangeShareability = lpa && granule !== 16 ? TCR_EL1.get(tcr, upper ? 'SH1' : 'SH0') : null;
    const tcr2 = features.tcr2 ? fromHalves(state.tcr2Hi, state.tcr2Lo) : 0n;
    this.#nonGlobal = features.asid2 && TCR2_EL1.has(tcr2, upper ? 'FNG1' : 'FNG0');
    this.#indirect = features.s1pie && TCR2_EL1.has(tcr2, 'PIE');
    this.#state = state;
    this.#bbm = features.bbm;
  }

  entryShift(level: number): number {
    return descriptorShift(this.#granule, level);
  }

  form(value: bigint, level: number): EntryForm {
    const form = descriptorForm(value, this.#context(level));
    if (form === 'invalid' || form === 'reserved') return { kind: 'invalid' };
    const layout = this.#layout(value, level);
    if (form === 'table') return { kind: 'table', table: descriptorAddress(value, layout) };
    return { kind: 'leaf', cacheable: layout.has(value, 'AF'), global: this.#isGlobal(value, layout) };
  }

  forbiddenChanges(
    old: LiveEntry,
    next: LiveEntry,
    sameContents: (first: bigint, second: bigint, bytes: number) => boolean,
  ): readonly string[] {
    const oldLeaf = this.form(old.value, old.level).kind === 'leaf';
    const nextLeaf = this.form(next.value, next.level).kind === 'leaf';
    const sized = sizeDiffers(oldLeaf, old.level, nextLeaf, next.level);
    const changes: (string | null)[] = [];
    if (sized && !this.#mayChangeSize(oldLeaf ? old : null, nextLeaf ? next : null))
      changes.push('block size');
    if (oldLeaf && nextLeaf) {
      changes.push(
        this.#attributeChange(old, next),
        this.#addressChange(old, next, sameContents),
        this.#contiguousChange(old, next),
        this.#globalOverOther(old, next),
      );
    }
    return changes.filter((change) => change !== null);
  }

  /** FEAT_BBM level 1 and 2 let it change. */
  #contiguousChange(old: LiveEntry, next: LiveEntry): string | null {
    if (this.#bbm > 0 || old.level !== next.level) return null;
    return this.#field(old, 'Contiguous') === this.#field(next, 'Contiguous') ? null : 'Contiguous bit';
  }

  #globalOverOther(old: LiveEntry, next: LiveEntry): string | null {
    const isGlobal = ({ value, level }: LiveEntry): boolean =>
      this.#isGlobal(value, this.#layout(value, level));
    const replaces = !isGlobal(old) && isGlobal(next);
    return replaces ? 'a global entry over a non-global one' : null;
  }

  #isGlobal(value: bigint, layout: Layout): boolean {
    return !this.#nonGlobal && !layout.has(value, 'nG');
  }

  #context(level: number): DescriptorContext {
    return { granule: this.#granule, level, lpa: this.#lpa };
  }

  #layout(value: bigint, level: number): Layout {
    const key = `${level} ${value & 3n}`;
    let layout = this.#layouts.get(key);
    if (layout === undefined) {
      layout = layoutOfDescriptor(value, this.#context(level));
      this.#layouts.set(key, layout);
    }
    return layout;
  }

  #field({ value, level }: LiveEntry, name: string): bigint {
    return this.#layout(value, level).get(value, name);
  }

  /** Null stands for a table. With FEAT_BBM level 1, one of the two has to be a block with nT = 1. */
  #mayChangeSize(old: LiveEntry | null, next: LiveEntry | null): boolean {
    if (this.#bbm === 2) return true;
    const marked = (entry: LiveEntry | null): boolean =>
      entry !== null && entry.level < 3 && this.#field(entry, 'nT') === 1n;
    return this.#bbm === 1 && (marked(old) || marked(next));
  }

  #attributeChange(old: LiveEntry, next: LiveEntry): string | null {
    const [first, second] = [this.#memory(old), this.#memory(next)];
    if (first.type !== second.type) return `memory type (${first.type}, now ${second.type})`;
    if (first.cacheability !== second.cacheability) {
      return `Cacheability (${first.cacheability}, now ${second.cacheability})`;
    }
    return first.shareability === second.shareability ? null : 'Shareability';
  }

  #memory(entry: LiveEntry): {
    readonly type: string;
    readonly cacheability: string;
    readonly shareability: bigint;
  } {
    const { mairHi, mairLo } = this.#state;
    const attribute = attributeOf(mairHi, mairLo, Number(this.#field(entry, 'AttrIndx')));
    if (isDevice(attribute)) {
      const type = memoryAttributeName(attribute & DEVICE_TYPE);
      return { type, cacheability: 'none', shareability: OUTER_SHAREABLE };
    }
    // 0xf0 is Tagged Write-Back; 0x40 and 0xa0 are Non-cacheable and Write-Through with XS = 0.
    const outer = policyOf(attribute >> 4);
    const inner = (attribute & 0xf) === 0 ? outer : policyOf(attribute & 0xf);
    const cacheability = `outer ${outer}, inner ${inner}`;
    const everywhere = outer === NON_CACHEABLE && inner === NON_CACHEABLE;
    const own = this.#rangeShareability ?? this.#field(entry, 'SH');
    return { type: 'Normal', cacheability, shareability: everywhere ? OUTER_SHAREABLE : own };
  }

  #addressChange(
    old: LiveEntry,
    next: LiveEntry,
    sameContents: (first: bigint, second: bigint, bytes: number) => boolean,
  ): string | null {
    const start = old.address > next.address ? old.address : next.address;
    const bytes = 2 ** Math.min(this.entryShift(old.level), this.entryShift(next.level));
    const [before, after] = [this.#output(old, start), this.#output(next, start)];
    if (before === after) return null;
    if (this.#writable(old) || this.#writable(next)) return 'output address, with write permission';
    return sameContents(before, after, bytes) ? null : 'output address, with other contents there';
  }

  #output(entry: LiveEntry, address: bigint): bigint {
    return descriptorAddress(entry.value, this.#layout(entry.value, entry.level)) + (address - entry.address);
  }

  #writable(entry: LiveEntry): boolean {
    if (this.#indirect) return this.#writableIndirectly(entry.value);
    if ((this.#field(entry, 'AP') & 2n) === 0n) return true;
    return this.#hardwareDirty && this.#field(entry, 'DBM') === 1n;
  }

  /** PIIndex is bits 54:53, 51 and 6 of the descriptor. */
  #writableIndirectly(value: bigint): boolean {
    const index = Number(
      (((value >> 53n) & 3n) << 2n) | (((value >> 51n) & 1n) << 1n) | ((value >> 6n) & 1n),
    );
    const { pirHi, pirLo, pire0Hi, pire0Lo } = this.#state;
    const { el1, el0 } = indirectPermissions(
      permissionField(pirHi, pirLo, index),
      permissionField(pire0Hi, pire0Lo, index),
    );
    return ((el1 | el0) & Grant.W) !== 0;
  }
}

/**
 * Do the two map an address by blocks or pages of different size? A table stands for entries smaller than its own level's.
 */
function sizeDiffers(oldLeaf: boolean, oldLevel: number, nextLeaf: boolean, nextLevel: number): boolean {
  if (oldLeaf && nextLeaf) return oldLevel !== nextLevel;
  if (oldLeaf) return oldLevel <= nextLevel;
  return nextLeaf && nextLevel <= oldLevel;
}

/** The Device type of a MAIR byte, without XS. */
const DEVICE_TYPE = 0xc;
const OUTER_SHAREABLE = 2n;
const NON_CACHEABLE = 'Non-cacheable';

/** The policy of one half of a MAIR byte, without allocation hints. @see Arm ARM (DDI 0487), "MAIR_EL1" */
function policyOf(nibble: number): string {
  if (nibble === 0b0100) return NON_CACHEABLE;
  return (nibble & 0b0100) === 0 ? 'Write-Through' : 'Write-Back';
}

/** Hears a `ShareabilityDomain` and passes on what the check wants to know. */
export class Arm64InvalidationReporter implements MaintenanceObserver {
  readonly #observer: InvalidationObserver;
  readonly #invalidations = new Map<TlbiScope, Invalidation>();

  constructor(observer: InvalidationObserver) {
    this.#observer = observer;
  }

  issued(cpu: number, scope: TlbiScope, targets: readonly number[]): void {
    const invalidation: Invalidation = {
      name: `TLBI ${scope.operation.name}`,
      targets,
      reaches: (place) => names(scope, place),
    };
    this.#invalidations.set(scope, invalidation);
    this.#observer.issued(cpu, invalidation);
  }

  barrier(cpu: number, barrier: DataSynchronizationBarrier, completed: readonly TlbiScope[]): void {
    const done: Invalidation[] = [];
    for (const scope of completed) {
      const invalidation = this.#invalidations.get(scope);
      if (invalidation !== undefined) done.push(invalidation);
      this.#invalidations.delete(scope);
    }
    this.#observer.barrier(cpu, isVisibleToWalkers(barrier), done);
  }
}
