/** A board whose tables are watched by the check of break-before-make, and the descriptors its tests write. */
import { Arm64InvalidationReporter, Arm64LiveTableRules } from '../../../src/arch/arm64/break-before-make.ts';
import { addressOperand } from '../../../src/arch/arm64/tlbi-operands.ts';
import { BreakBeforeMake } from '../../../src/check/break-before-make.ts';
import {
  AF,
  Board,
  type BoardOptions,
  INNER,
  LOWER_ROOT,
  NOT_GLOBAL,
  PAGE_TYPE,
  USER,
  VALID,
} from './board.ts';

export const VA = 0x7fff_0020_0000n;
export const FRAME = 0x4000_0000n;
export const OTHER = 0x8000_0000n;
export const ASID = 5;
export const NT = 1n << 16n;
export const DBM = 1n << 51n;
export const PLAIN = AF | NOT_GLOBAL | USER | INNER | VALID;
export const PAGE = PLAIN | PAGE_TYPE;
export const attributes = (index: number): bigint => BigInt(index) << 2n;
export const xt = (va = VA, asid = ASID): bigint => addressOperand(Number(va >> 12n), asid);

export class Watched extends Board {
  readonly check: BreakBeforeMake;

  constructor(options: BoardOptions = {}) {
    super({ cpus: 2, features: { bbm: 0, ...options.features }, ...options, ...{} });
    const { state, features } = this.mmu();
    const rules = new Arm64LiveTableRules(state, features);
    this.check = new BreakBeforeMake({ rules, memory: this.memory, cpus: this.mmus.length });
    this.domain.observer = new Arm64InvalidationReporter(this.check);
    this.descriptorAddress(VA);
    this.check.addRoot(LOWER_ROOT, 0n, () => ASID);
  }

  /** A CPU stores a descriptor. */
  store(at: bigint, value: bigint, cpu = 0): void {
    const old = this.read(at);
    this.write(at, value);
    this.check.written(at, old, value, cpu);
  }

  set(value: bigint, level = 3, cpu = 0): void {
    this.store(this.descriptorAddress(VA, level), value, cpu);
  }

  /** The whole sequence but for the new entry. */
  break(level = 3, operation = 'VAE1IS', cpu = 0): void {
    this.set(0n, level, cpu);
    this.domain.dsb(cpu, 'ISHST');
    this.domain.tlbi(cpu, operation, xt());
    this.domain.dsb(cpu, 'ISH');
  }

  get found(): string[] {
    return this.check.violations.map(({ changes, missing }) => `${changes.join(', ')}; ${missing}`);
  }
}

export const INBETWEEN = 'an invalid entry in between';
