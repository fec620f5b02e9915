/**
 * Finds changes of live translation table entries that had to go through an invalid entry, an invalidation and barriers
 * (break-before-make) and did not, while they are made: it hears every write to a table, every invalidation and every
 * barrier, and remembers of each entry that was taken away or replaced which CPUs may still have it cached. A CPU may have
 * cached any entry that stood in a table, whether it used the address or not. Every set of tables is taken to be used by
 * more than one CPU.
 * Left out: entries of one address space that collide with those of another with the same ASID, and rights that table
 * entries combine; tables that stand in more than one place.
 */
import type {
  CachedPlace,
  Invalidation,
  InvalidationObserver,
  LiveEntry,
  LiveTableRules,
} from '../arch/break-before-make.ts';
import { fromHalves, hex, highHalf, lowHalf } from '../base/u64.ts';
import type { PhysicalMemory } from '../hardware/physical-memory.ts';
import { type Remnant, Remnants } from './remnants.ts';

/** A step of the sequence that was left out. */
export type MissingStep =
  | 'an invalid entry in between'
  | 'a barrier after the invalid entry'
  | 'an invalidation'
  | 'a barrier after the invalidation'
  | 'an invalidation that reaches every CPU';

export interface BreakBeforeMakeViolation {
  /** The first byte that both entries map. */
  readonly address: bigint;
  /** Physical address of the root table. */
  readonly root: bigint;
  readonly old: LiveEntry;
  readonly next: LiveEntry;
  /** What about the change needs the sequence, in the manual's words. */
  readonly changes: readonly string[];
  readonly missing: MissingStep;
  /** CPUs that may still have the old entry. */
  readonly cpus: readonly number[];
  /** What may happen, and what does here. */
  readonly outcome: string;
}

/** The tables that one root leads to. */
interface Root {
  readonly table: bigint;
  readonly base: bigint;
  /** As it is when asked; null while nothing can be cached. */
  readonly asid: () => number | null;
}

/** Where a table stands. */
interface TablePlace {
  readonly root: Root;
  readonly level: number;
  /** First byte that it maps. */
  readonly address: bigint;
}

export interface BreakBeforeMakeOptions {
  readonly rules: LiveTableRules;
  readonly memory: PhysicalMemory;
  /** How many CPUs there are. */
  readonly cpus: number;
}

export class BreakBeforeMake implements InvalidationObserver {
  /** In the order in which they were made; of one write, at most one for each old entry. */
  readonly violations: BreakBeforeMakeViolation[] = [];
  readonly #rules: LiveTableRules;
  readonly #memory: PhysicalMemory;
  readonly #cpus: readonly number[];
  readonly #roots = new Map<bigint, TablePlace>();
  /** By physical address; without the roots. */
  readonly #tables = new Map<bigint, TablePlace>();
  readonly #remnants = new Map<Root, Remnants>();
  /** Writes to live tables so far. */
  #writes = 0;

  constructor({ rules, memory, cpus }: BreakBeforeMakeOptions) {
    this.#rules = rules;
    this.#memory = memory;
    this.#cpus = Array.from({ length: cpus }, (_, cpu) => cpu);
  }

  /**
   * From now on the tables below `table` are watched. What they hold already is live.
   * @param base first byte that it maps
   * @param asid of what is cached of it, asked for whenever it is needed; null while nothing can be cached
   */
  addRoot(table: bigint, base: bigint, asid: () => number | null): void {
    const root: Root = { table, base, asid };
    this.#roots.set(table, { root, level: this.#rules.rootLevel, address: base });
    this.#remnants.set(root, new Remnants(this.#rules.lastLevel));
    this.#link(table, { root, level: this.#rules.rootLevel, address: base });
  }

  /** The root is no longer used, by anybody. */
  removeRoot(table: bigint): void {
    const place = this.#roots.get(table);
    if (place === undefined) return;
    this.#forget(table, place);
    this.#roots.delete(table);
    this.#remnants.delete(place.root);
  }

  /**
   * Software writes an entry of a table; one that no root leads to is nobody's business. To be called before the memory
   * changes or after it.
   * @param at physical address of the entry @param cpu who writes; -1 not known
   */
  written(at: bigint, old: bigint, value: bigint, cpu = -1): void {
    if (old === value) return;
    const found = this.#tableOf(at);
    if (found === null) return;
    this.#writes++;
    const { place, table } = found;
    const { root, level } = place;
    const index = (at - table) / 8n;
    const address = place.address + (index << BigInt(this.#rules.entryShift(level)));
    const before: LiveEntry = { address, level, value: old };
    const after: LiveEntry = { address, level, value };
    const replaced = this.#rules.form(value, level).kind !== 'invalid';
    const gone: LiveEntry[] = [];
    this.#unlink(root, before, gone);
    for (const entry of gone) this.#remember(root, entry, replaced, cpu);
    this.#make(root, after);
  }

  issued(_cpu: number, invalidation: Invalidation): void {
    for (const remnants of this.#remnants.values()) {
      for (const remnant of remnants) {
        if (!invalidation.reaches(remnant.place)) continue;
        if (remnant.visible) remnant.issued.add(invalidation);
        else remnant.early = true;
      }
    }
  }

  barrier(cpu: number, publishes: boolean, completed: readonly Invalidation[]): void {
    for (const remnants of this.#remnants.values()) {
      for (const remnant of remnants) {
        for (const invalidation of completed) complete(remnant, invalidation);
        if (publishes && remnant.by === cpu) remnant.visible = true;
      }
      if (completed.length > 0) remnants.prune();
    }
  }

  #tableOf(at: bigint): { readonly place: TablePlace; readonly table: bigint } | null {
    const { tableBytes, rootBytes } = this.#rules;
    const table = at - (at % BigInt(tableBytes));
    const place = this.#tables.get(table);
    if (place !== undefined) return { place, table };
    for (const [root, rootPlace] of this.#roots) {
      if (at >= root && at < root + BigInt(rootBytes)) return { place: rootPlace, table: root };
    }
    return null;
  }

  /** The entry is no longer in its table: what of it and below it a TLB may hold goes to `gone`. */
  #unlink(root: Root, entry: LiveEntry, gone: LiveEntry[]): void {
    const form = this.#rules.form(entry.value, entry.level);
    if (form.kind === 'invalid' || (form.kind === 'leaf' && !form.cacheable)) return;
    gone.push(entry);
    if (form.kind === 'leaf') return;
    this.#tables.delete(form.table);
    this.#eachEntry(form.table, { root, level: entry.level + 1, address: entry.address }, (below) =>
      this.#unlink(root, below, gone),
    );
  }

  #forget(table: bigint, place: TablePlace): void {
    this.#tables.delete(table);
    this.#eachEntry(table, place, (entry) => {
      const form = this.#rules.form(entry.value, entry.level);
      if (form.kind !== 'table') return;
      this.#forget(form.table, { root: place.root, level: entry.level + 1, address: entry.address });
    });
  }

  /** A table can be reached from now on: it is noted, and what it holds is made live. */
  #link(table: bigint, place: TablePlace): void {
    if (!this.#roots.has(table)) this.#tables.set(table, place);
    this.#eachEntry(table, place, (entry) => this.#make(place.root, entry));
  }

  /** An entry is live from now on: it is held against all that may still be cached for its addresses. */
  #make(root: Root, entry: LiveEntry): void {
    const form = this.#rules.form(entry.value, entry.level);
    if (form.kind === 'invalid') return;
    if (form.kind === 'leaf' && !form.cacheable && !this.#rules.becomesCacheable) return;
    const asid = root.asid();
    const isGlobal = form.kind === 'leaf' && form.global;
    const shift = this.#rules.entryShift(entry.level);
    for (const remnant of this.#remnants.get(root)?.overlapping(entry, shift) ?? []) {
      const apart = remnant.place.asid !== asid && !remnant.place.global && !isGlobal;
      if (!apart) this.#judge(root, remnant, entry);
    }
    if (form.kind === 'table') {
      this.#link(form.table, { root, level: entry.level + 1, address: entry.address });
    }
  }

  #judge(root: Root, remnant: Remnant, next: LiveEntry): void {
    const old = remnant.entry;
    if (remnant.reported === this.#writes) return;
    const changes = this.#rules.forbiddenChanges(old, next, this.#sameContents);
    if (changes.length === 0) return;
    remnant.reported = this.#writes;
    this.violations.push({
      address: old.address > next.address ? old.address : next.address,
      root: root.table,
      old,
      next,
      changes,
      missing: this.#missing(remnant),
      cpus: [...remnant.left],
      outcome: this.#rules.outcome,
    });
  }

  #missing(remnant: Remnant): MissingStep {
    if (remnant.replaced) return 'an invalid entry in between';
    if (remnant.issued.size > 0) return 'a barrier after the invalidation';
    if (remnant.left.size < this.#cpus.length) return 'an invalidation that reaches every CPU';
    return remnant.early ? 'a barrier after the invalid entry' : 'an invalidation';
  }

  #remember(root: Root, entry: LiveEntry, replaced: boolean, cpu: number): void {
    const asid = root.asid();
    if (asid === null) return;
    const form = this.#rules.form(entry.value, entry.level);
    const place: CachedPlace = {
      address: entry.address,
      shift: this.#rules.entryShift(entry.level),
      level: entry.level,
      leaf: form.kind === 'leaf',
      global: form.kind === 'leaf' && form.global,
      asid,
    };
    this.#remnants.get(root)?.add({
      entry,
      place,
      by: cpu,
      replaced,
      visible: cpu < 0,
      issued: new Set(),
      early: false,
      left: new Set(this.#cpus),
      reported: 0,
    });
  }

  #eachEntry(table: bigint, { level, address }: TablePlace, visit: (entry: LiveEntry) => void): void {
    const { rootLevel, rootBytes, tableBytes } = this.#rules;
    const count = (level === rootLevel ? rootBytes : tableBytes) / 8;
    const shift = BigInt(this.#rules.entryShift(level));
    for (let index = 0n; index < count; index++) {
      const value = this.#word(table + index * 8n);
      if (value !== 0n) visit({ address: address + (index << shift), level, value });
    }
  }

  #word(at: bigint): bigint {
    const memory = this.#memory;
    return memory.read64(highHalf(at), lowHalf(at)) ? fromHalves(memory.hi, memory.lo) : 0n;
  }

  readonly #sameContents = (first: bigint, second: bigint, bytes: number): boolean => {
    for (let at = 0n; at < bytes; at += 8n) {
      if (this.#word(first + at) !== this.#word(second + at)) return false;
    }
    return true;
  };
}

function complete(remnant: Remnant, invalidation: Invalidation): void {
  if (!remnant.issued.delete(invalidation)) return;
  for (const target of invalidation.targets) remnant.left.delete(target);
}

/** Two lines: what was changed how, and what may come of it. */
export function describeViolation(violation: BreakBeforeMakeViolation): string[] {
  const { address, old, next, changes, missing, cpus, outcome } = violation;
  const entry = ({ level, value }: LiveEntry): string => `${hex(value)} (level ${level})`;
  const held = `cpu ${cpus.join(', ')} may still have the old one`;
  return [
    `${hex(address)}: ${entry(old)} became ${entry(next)}: ${changes.join(', ')}; missing: ${missing}; ${held}`,
    outcome,
  ];
}
