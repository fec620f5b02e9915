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
import { TCR_EL1 } from './registers.ts';
import type { MaintenanceObserver } from './shareability-domain.ts';
import type { Arm64State } from './state.ts';
import { TCR2_EL1 } from './system-registers.ts';
import { tableShape } from './table-shape.ts';
import type { TlbiScope } from './tlbi-operands.ts';

/** Fields of PIR_EL1 and PIRE0_EL1 that grant writes. @see Arm ARM, "Indirect permission: Base permissions" */
const WRITABLE_INDIRECTIONS: readonly number[] = [0b0101, 0b0110, 0b0111, 0b1100, 0b1110];

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
  readonly #mair: bigint;
  /** PIR_EL1 and PIRE0_EL1 with permission indirection, else null. */
  readonly #indirection: readonly [bigint, bigint] | null;
  readonly #bbm: 0 | 1 | 2;
  readonly #layouts = new Map<string, Layout>();

  /** @param upper the range of TTBR1_EL1 */
  constructor(state: Readonly<Arm64State>, features: Arm64Features, upper = false) {
    const tcr = fromHalves(state.tcrHi, state.tcrLo);
    const { granule, lpa, inputBits, rootLevel } = tableShape(state, features, upper);
    this.#granule = granule;
    this.#lpa = lpa;
    this.rootLevel = rootLevel;
    this.tableBytes = 2 ** granule;
    this.rootBytes = 8 * 2 ** (inputBits - descriptorShift(granule, this.rootLevel));
    const hardwareAccess = features.hafdbs >= 1 && TCR_EL1.has(tcr, 'HA');
    this.becomesCacheable = hardwareAccess;
    this.#hardwareDirty = hardwareAccess && features.hafdbs === 2 && TCR_EL1.has(tcr, 'HD');
    const bySize = this.#lpa && granule !== 16;
    this.#rangeShareability = bySize ? TCR_EL1.get(tcr, upper ? 'SH1' : 'SH0') : null;
    this.#mair = fromHalves(state.mairHi, state.mairLo);
    const tcr2 = fromHalves(state.tcr2Hi, state.tcr2Lo);
    const indirect = features.s1pie && TCR2_EL1.has(tcr2, 'PIE');
    this.#indirection = indirect
      ? [fromHalves(state.pirHi, state.pirLo), fromHalves(state.pire0Hi, state.pire0Lo)]
      : null;
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
    return { kind: 'leaf', cacheable: layout.has(value, 'AF'), global: !layout.has(value, 'nG') };
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
    const replaces = this.#field(old, 'nG') === 1n && this.#field(next, 'nG') === 0n;
    return replaces ? 'a global entry over a non-global one' : null;
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
    const attribute = Number((this.#mair >> (8n * this.#field(entry, 'AttrIndx'))) & 0xffn);
    if (attribute >> 4 === 0) {
      const type = ['Device-nGnRnE', 'Device-nGnRE', 'Device-nGRE', 'Device-GRE'][
        (attribute >> 2) & 3
      ] as string;
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
    if (this.#indirection !== null) {
      const { value } = entry;
      const index = (((value >> 53n) & 3n) << 2n) | (((value >> 51n) & 1n) << 1n) | ((value >> 6n) & 1n);
      return this.#indirection.some((register) =>
        WRITABLE_INDIRECTIONS.includes(Number((register >> (4n * index)) & 0xfn)),
      );
    }
    if ((this.#field(entry, 'AP') & 2n) === 0n) return true;
    return this.#hardwareDirty && this.#field(entry, 'DBM') === 1n;
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
