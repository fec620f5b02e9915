/**
 * Which lock classes were waited for while which were held, and how classes of spinlocks are used with respect to
 * interrupts. Each fact keeps the first stack that showed it.
 * @see Linux kernel/locking/lockdep.c, `check_noncircular`, `find_usage_backwards`
 */

export interface ClassUsage<Stack> {
  readonly key: string;
  /** Taken in an interrupt handler. */
  inHandler: Stack | null;
  /** Taken with interrupts enabled. */
  enabled: Stack | null;
  /** Waited for with interrupts disabled. */
  disabled: Stack | null;
  /** Held while waiting for other CPUs to take an interrupt. */
  overCall: Stack | null;
}

export class LockGraph<Stack> {
  #edges = new Map<string, Map<string, Stack>>();
  #usage = new Map<string, ClassUsage<Stack>>();
  #changed = false;

  clear(): void {
    this.#edges = new Map();
    this.#usage = new Map();
    this.#changed = false;
  }

  /** `inner` was waited for while `outer` was held. */
  addEdge(outer: string, inner: string, stack: Stack): void {
    let inners = this.#edges.get(outer);
    if (inners === undefined) {
      inners = new Map();
      this.#edges.set(outer, inners);
    }
    if (inners.has(inner)) return;
    inners.set(inner, stack);
    this.#changed = true;
  }

  noteUsage(key: string, inHandler: boolean, enabled: boolean, disabled: boolean, stack: Stack): void {
    const usage = this.#usageOf(key);
    if (disabled && usage.disabled === null) {
      usage.disabled = stack;
      this.#changed = true;
    }
    if (inHandler && usage.inHandler === null) {
      usage.inHandler = stack;
      this.#changed = true;
    }
    if (enabled && usage.enabled === null) {
      usage.enabled = stack;
      this.#changed = true;
    }
  }

  /** It is held while its holder waits for other CPUs to take an interrupt. */
  noteCall(key: string, stack: Stack): void {
    const usage = this.#usageOf(key);
    if (usage.overCall !== null) return;
    usage.overCall = stack;
    this.#changed = true;
  }

  #usageOf(key: string): ClassUsage<Stack> {
    let usage = this.#usage.get(key);
    if (usage === undefined) {
      usage = { key, inHandler: null, enabled: null, disabled: null, overCall: null };
      this.#usage.set(key, usage);
    }
    return usage;
  }

  /** Anything new since this was asked last? */
  changed(): boolean {
    const changed = this.#changed;
    this.#changed = false;
    return changed;
  }

  /** The stacks of the steps by which `inner` is reached from `outer`, shortest way; empty when it is not. */
  path(outer: string, inner: string): Stack[] {
    const from = new Map<string, string>([[outer, outer]]);
    const queue = [outer];
    for (let at = queue.shift(); at !== undefined; at = queue.shift()) {
      if (at === inner && at !== outer) return this.#stacksTo(inner, outer, from);
      for (const next of this.#edges.get(at)?.keys() ?? []) {
        if (from.has(next)) continue;
        from.set(next, at);
        queue.push(next);
      }
    }
    return [];
  }

  /** Classes that handlers take from which classes can be reached that are taken with interrupts enabled. */
  *interruptInversions(): Generator<{ safe: ClassUsage<Stack>; unsafe: ClassUsage<Stack> }> {
    for (const safe of this.#usage.values()) {
      if (safe.inHandler === null) continue;
      for (const unsafe of this.#usage.values()) {
        if (unsafe.enabled === null) continue;
        if (safe === unsafe || this.path(safe.key, unsafe.key).length > 0) yield { safe, unsafe };
      }
    }
  }

  /** Classes waited for with interrupts disabled from which classes can be reached that are held over a call of other CPUs. */
  *callInversions(): Generator<{ spinner: ClassUsage<Stack>; caller: ClassUsage<Stack> }> {
    for (const spinner of this.#usage.values()) {
      if (spinner.disabled === null) continue;
      for (const caller of this.#usage.values()) {
        if (caller.overCall === null) continue;
        if (spinner === caller || this.path(spinner.key, caller.key).length > 0) yield { spinner, caller };
      }
    }
  }

  #stacksTo(inner: string, outer: string, from: ReadonlyMap<string, string>): Stack[] {
    const stacks: Stack[] = [];
    for (let at = inner; at !== outer; ) {
      const before = from.get(at) as string;
      stacks.unshift(this.#edges.get(before)?.get(at) as Stack);
      at = before;
    }
    return stacks;
  }
}
