/**
 * Flushing an mm's translations on every CPU: TLBI instructions that reach all CPUs of the Inner Shareable domain, and a
 * barrier that waits for them. No CPU is interrupted, whichever has run the mm; what is flushed is what carries the mm's
 * ASID. Many pages are flushed with few instructions where the processor has range forms, by the whole ASID where not.
 * Left out: the second ASID of page-table isolation, workarounds that repeat the TLBI, notifiers of devices.
 * @see Linux arch/arm64/include/asm/tlbflush.h, `__flush_tlb_range`, `flush_tlb_page`, `flush_tlb_mm`; asm/tlb.h, `tlb_flush`
 */
import { PointKind, SchedPoint, SharedObject, StepCost, type Task } from '../../../base/task.ts';
import { descriptorShift, type GranuleShift } from '../entries.ts';
import { type TlbiOperation, tlbiNamed } from '../tlbi.ts';
import { addressOperand, asidOperand, rangeOperand } from '../tlbi-operands.ts';

/** The instructions, as one CPU executes them. */
export interface TlbMaintenance {
  /** TLBI: returns at once, other CPUs may still use what it names. */
  tlbi(cpu: number, operation: TlbiOperation, xt: bigint): void;
  /** DSB ISH: when it returns, nobody does. */
  dsbIsh(cpu: number): void;
}

export interface FlushFeatures {
  readonly granule: GranuleShift;
  /** 52-bit addresses by FEAT_LPA2: ranges begin at multiples of 64 KiB (TCR_EL1.DS = 1). */
  readonly lpa2: boolean;
  /** FEAT_TLBIRANGE. */
  readonly range: boolean;
  /** FEAT_TTL. */
  readonly levelHints: boolean;
}

/** SCALE 3, NUM 31. @see MAX_TLBI_RANGE_PAGES */
const MAX_TLBI_RANGE_PAGES = 32 * 2 ** 16;

const VALE1IS = tlbiNamed('vale1is');
const VAE1IS = tlbiNamed('vae1is');
const RVALE1IS = tlbiNamed('rvale1is');
const RVAE1IS = tlbiNamed('rvae1is');
const ASIDE1IS = tlbiNamed('aside1is');

/** The translations of all CPUs, as far as other tasks depend on them. */
class BroadcastTranslations extends SharedObject {
  readonly invalidate: SchedPoint;
  readonly synchronize: SchedPoint;

  constructor() {
    super('translations of the inner shareable domain');
    this.invalidate = new SchedPoint(PointKind.Write, this, 'tlbi', StepCost.None);
    this.synchronize = new SchedPoint(PointKind.Write, this, 'dsb ish', StepCost.None);
  }
}

export class TlbFlush {
  readonly #maintenance: TlbMaintenance;
  readonly #features: FlushFeatures;
  readonly #translations = new BroadcastTranslations();
  /** `MAX_DVM_OPS`: PTRS_PER_PTE. */
  readonly #maxOperations: number;
  /** Pages of 4 KiB, in which the instructions count, in a page. */
  readonly #unitsPerPage: number;

  constructor(maintenance: TlbMaintenance, features: FlushFeatures) {
    this.#maintenance = maintenance;
    this.#features = features;
    this.#maxOperations = 2 ** (features.granule - 3);
    this.#unitsPerPage = 2 ** (features.granule - 12);
  }

  /**
   * `__flush_tlb_range`. Pages are page numbers of the granule.
   * @param strideShift log2 of the bytes that one entry maps
   * @param freedTables tables are about to go: walk caches count too, and the entries may be of any level
   * @param mixedLevels the entries are of more than one level, so that no hint may be given (`tlb_get_level`)
   */
  *range(
    cpu: number,
    asid: number,
    startPage: number,
    endPage: number,
    strideShift: number,
    freedTables: boolean,
    mixedLevels = false,
  ): Task<void> {
    const { granule, range } = this.#features;
    const stride = 2 ** (strideShift - granule);
    const start = Math.floor(startPage / stride) * stride;
    const pages = Math.ceil(endPage / stride) * stride - start;
    if ((!range && pages >= this.#maxOperations * stride) || pages > MAX_TLBI_RANGE_PAGES) {
      yield* this.mm(cpu, asid);
      return;
    }
    const level = freedTables || mixedLevels ? 0 : levelOf(granule, strideShift);
    yield* this.#rangeOperations(cpu, { asid, start, pages, stride, level, lastLevel: !freedTables });
    yield* this.#synchronize(cpu);
  }

  /** `flush_tlb_page`: the leaf of one page. It goes without a level hint. */
  *page(cpu: number, asid: number, page: number): Task<void> {
    yield this.#translations.invalidate;
    this.#maintenance.tlbi(cpu, VALE1IS, addressOperand(page * this.#unitsPerPage, asid));
    yield* this.#synchronize(cpu);
  }

  /** `flush_tlb_mm`: all of an ASID. */
  *mm(cpu: number, asid: number): Task<void> {
    yield this.#translations.invalidate;
    this.#maintenance.tlbi(cpu, ASIDE1IS, asidOperand(asid));
    yield* this.#synchronize(cpu);
  }

  /** @see `__flush_tlb_range_op` */
  *#rangeOperations(cpu: number, request: RangeRequest): Task<void> {
    const { granule, range, lpa2 } = this.#features;
    const { asid, stride, lastLevel, level } = request;
    let { start, pages } = request;
    let scale = 3;
    while (pages > 0) {
      const aligned = !lpa2 || (start * this.#unitsPerPage) % 16 === 0;
      if (!range || pages === 1 || !aligned) {
        yield this.#translations.invalidate;
        this.#tlbiAddress(cpu, request, start);
        start += stride;
        pages -= stride;
        continue;
      }
      const num = Math.min(Math.floor(pages / 2 ** (5 * scale + 1)), 32) - 1;
      if (num >= 0) {
        const page = start * this.#unitsPerPage;
        yield this.#translations.invalidate;
        const operation = lastLevel ? RVALE1IS : RVAE1IS;
        const xt = rangeOperand({ asid, page, granule, scale, num, level }, lpa2);
        this.#maintenance.tlbi(cpu, operation, xt);
        const covered = (num + 1) * 2 ** (5 * scale + 1);
        start += covered;
        pages -= covered;
      }
      scale--;
    }
  }

  #tlbiAddress(cpu: number, { asid, lastLevel, level }: RangeRequest, page: number): void {
    const { granule, levelHints } = this.#features;
    const hint = levelHints && level !== 0 ? { granule, level } : null;
    const xt = addressOperand(page * this.#unitsPerPage, asid, hint);
    this.#maintenance.tlbi(cpu, lastLevel ? VALE1IS : VAE1IS, xt);
  }

  *#synchronize(cpu: number): Task<void> {
    yield this.#translations.synchronize;
    this.#maintenance.dsbIsh(cpu);
  }
}

interface RangeRequest {
  readonly asid: number;
  readonly start: number;
  readonly pages: number;
  readonly stride: number;
  /** Lookup level of every leaf in the range; 0 not known. */
  readonly level: number;
  readonly lastLevel: boolean;
}

/** `tlb_get_level`: the lookup level, 1 to 3, whose entries map 2^strideShift bytes; 0 when it is none of them. */
function levelOf(granule: GranuleShift, strideShift: number): number {
  for (const level of [3, 2, 1]) if (descriptorShift(granule, level) === strideShift) return level;
  return 0;
}
