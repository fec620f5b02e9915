/**
 * Bugs put in on purpose, each a switch that brings back the order of operations of a kernel that had it. All are off
 * unless a scenario or a run turns them on; the kernel asks `kernel.bugs` where the old code differs from today's.
 */

export interface BugDescription {
  /** As scenarios and the command line name it. */
  readonly name: string;
  /** What the old code does, in one sentence. */
  readonly title: string;
  /** CVE, commit, or mail that tells of it. */
  readonly source: string;
}

/** By the name of their switch, sorted. */
export const BUGS = {
  mmapLockUnderVmaLock: {
    name: 'mmap-lock-under-vma-lock',
    title:
      'Before the first anonymous page of a VMA a fault waits for mmap_lock while it holds the VMA’s lock, where Linux only tries.',
    source: 'Linux mm/memory.c, __vmf_anon_prepare, without its trylock',
  },
} as const satisfies Readonly<Record<string, BugDescription>>;

export type BugSwitch = keyof typeof BUGS;
export type BugName = (typeof BUGS)[BugSwitch]['name'];
/** Which bugs a kernel has. */
export type KernelBugs = Readonly<Record<BugSwitch, boolean>>;

const SWITCHES = Object.keys(BUGS) as BugSwitch[];

export const BUG_NAMES: readonly BugName[] = SWITCHES.map((key) => BUGS[key].name);

/** A kernel with the named bugs and no others. */
export function kernelBugs(names: readonly BugName[]): KernelBugs {
  const has = (key: BugSwitch): boolean => names.includes(BUGS[key].name);
  return Object.fromEntries(SWITCHES.map((key) => [key, has(key)])) as Record<BugSwitch, boolean>;
}
