/**
 * How long a CPU keeps a translation it may keep, and the shapes of its translation caches as data.
 * Left out: replacement other than LRU, coalesced entries, prefetch, entries shared between hyper-threads.
 */

/**
 * - `profile`: caches of the profile's size, least recently used goes first; a cached entry that forbids the access is
 *   walked again before a fault is raised, as processors do.
 * - `adversarial`: keeps all that the architecture lets a processor keep, without bound. A cached entry that forbids
 *   the access faults at once, which may be spurious. Software that misses an invalidation is caught.
 * - `none`: nothing is cached; every access walks.
 */
export type Retention = 'profile' | 'adversarial' | 'none';

/** One set-associative structure. `sets` is a power of two; `sets` × `ways` entries; both 0 for "does not exist". */
export interface CacheGeometry {
  readonly sets: number;
  readonly ways: number;
}

export const NO_CACHE: CacheGeometry = { sets: 1, ways: 0 };

/** The translation caches of a processor model. */
export interface TlbProfile {
  readonly name: string;
  /** Of the processor, where it is one of a single architecture. */
  readonly arch?: string;
  /** First-level data TLB, smallest pages. */
  readonly data: CacheGeometry;
  /** First-level data TLB, the larger pages (any size above the smallest). */
  readonly dataLarge: CacheGeometry;
  readonly fetch: CacheGeometry;
  readonly fetchLarge: CacheGeometry;
  /** Second level, shared by data and instructions, all sizes up to `secondLargest` bytes (log2). */
  readonly second: CacheGeometry;
  /** log2 of the largest page the second level holds. */
  readonly secondLargestShift: number;
  /** Paging-structure caches by level of the cached entry: [2] PDE, [3] PDPTE, [4] PML4E, [5] PML5E; 0 and 1 unused. */
  readonly pagingStructure: readonly CacheGeometry[];
}

/**
 * Intel Golden Cove. Geometry of the TLBs: Intel Optimization Reference Manual, "Golden Cove Microarchitecture"
 * (96-entry 6-way DTLB, 32-entry 4-way for 2 MiB, 256-entry 8-way ITLB, 2048-entry 16-way STLB). The 16-entry store TLB
 * and the separate 1 GiB DTLB are not told apart. Paging-structure caches: sizes are reverse-engineered folklore.
 */
export const GOLDEN_COVE: TlbProfile = {
  name: 'golden-cove',
  arch: 'x86_64',
  data: { sets: 16, ways: 6 },
  dataLarge: { sets: 8, ways: 4 },
  fetch: { sets: 32, ways: 8 },
  fetchLarge: { sets: 8, ways: 4 },
  second: { sets: 128, ways: 16 },
  secondLargestShift: 21,
  pagingStructure: [
    NO_CACHE,
    NO_CACHE,
    { sets: 8, ways: 4 },
    { sets: 1, ways: 4 },
    { sets: 1, ways: 4 },
    { sets: 1, ways: 2 },
  ],
};

/**
 * Arm Neoverse V2. Geometry of the TLBs: Arm Neoverse V2 Core Technical Reference Manual, "Memory management" (48-entry
 * fully associative L1 instruction and data TLBs, 2048-entry 8-way L2 TLB). Its L1 TLBs hold pages and blocks together; here
 * blocks have 16 entries of their own. Walk caches: sizes are a guess.
 */
export const NEOVERSE_V2: TlbProfile = {
  name: 'neoverse-v2',
  arch: 'arm64',
  data: { sets: 1, ways: 48 },
  dataLarge: { sets: 1, ways: 16 },
  fetch: { sets: 1, ways: 48 },
  fetchLarge: { sets: 1, ways: 16 },
  second: { sets: 256, ways: 8 },
  secondLargestShift: 30,
  pagingStructure: [
    NO_CACHE,
    NO_CACHE,
    { sets: 8, ways: 4 },
    { sets: 1, ways: 4 },
    { sets: 1, ways: 4 },
    { sets: 1, ways: 2 },
  ],
};

/** A plain two-level TLB, 64 entries 4-way before 1536 entries 12-way: what the speed comparison with C uses.
 * It has no paging-structure caches, as the C program has none. */
export const PLAIN_TWO_LEVEL: TlbProfile = {
  name: 'plain-two-level',
  data: { sets: 16, ways: 4 },
  dataLarge: { sets: 8, ways: 4 },
  fetch: { sets: 16, ways: 4 },
  fetchLarge: { sets: 8, ways: 4 },
  second: { sets: 128, ways: 12 },
  secondLargestShift: 21,
  pagingStructure: [],
};

export const TLB_PROFILES = {
  [GOLDEN_COVE.name]: GOLDEN_COVE,
  [NEOVERSE_V2.name]: NEOVERSE_V2,
  [PLAIN_TWO_LEVEL.name]: PLAIN_TWO_LEVEL,
} as const;
