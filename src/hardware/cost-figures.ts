/**
 * The figures of the cost profiles, one processor model per table: [cycles, confidence, source]. `high` is a vendor
 * document or a named measurement, `medium` a measurement at second hand or one plain step away from one, `low` an
 * order of magnitude. Left out: calibration against whole workloads, a second socket, simultaneous multithreading.
 */

interface Figure {
  readonly cycles: number;
  readonly confidence: 'high' | 'medium' | 'low';
  readonly source: string;
}

const names = {
  l1Hit: 'load-to-use from the L1 data cache',
  l2Hit: 'load-to-use from L2',
  l3Hit: 'load-to-use from the last-level cache',
  memory: 'load-to-use from local DRAM',
  lineTransfer: 'a line that another CPU of the socket has modified',
  tlbL2Hit: 'extra cycles of an L1 TLB miss that hits L2',
  walkReference: 'fixed cycles of one page-table reference, beside the cache level that holds the entry',
  atomicUpdate: 'a locked read-modify-write on a line already here',
  kernelEntry: 'system call, entry and exit together',
  faultEntry: 'exception, entry and exit together',
  pageCopy: 'copying or clearing a 4 KiB page that is in the cache',
  pageCopyCold: 'copying a 4 KiB page from memory',
  interruptSend: 'sending an interrupt, once per call',
  interruptSendPerTarget: 'and for each target',
  interruptLatency: 'from sending until the target can take it',
  interruptEntry: 'taking an interrupt and returning from it',
  invalidatePage: 'INVLPG of one page, or TLBI and DSB',
  invalidatePerTarget: 'and for each other CPU that a broadcast TLBI reaches',
  invalidateAll: 'flushing the TLB of one CPU, without the refills',
  switchTable: 'CR3 or TTBR write that keeps the tagged entries',
  contextSwitch: 'switching to another task of the CPU, or back from sleep',
  randomTag: 'IRG, until the pointer can be used',
  twoTagStores: 'two of STG, ST2G, STZG, STZ2G and STGP to lines already here, in a run of them',
  vmaLookup: 'finding a VMA in a tree of a thousand: three nodes, of each a line of L2 and two of L1',
  tableWalk: 'a walk by software down to a pte, every entry in L1',
  tagBlock: 'DC GVA or DC GZVA of 64 bytes, in a run of them',
} as const;
export type FigureName = keyof typeof names;
/** What each figure is, for reports. */
export const figureMeanings: Readonly<Record<FigureName, string>> = names;

export interface ProfileData {
  readonly name: string;
  /** Of the processor; null where it is none. */
  readonly arch: string | null;
  readonly gigahertz: number;
  readonly figures: Readonly<Record<FigureName, Figure>>;
}

type Row = readonly [cycles: number, confidence: 'H' | 'M' | 'L', source: string];
const confidences = { H: 'high', M: 'medium', L: 'low' } as const;

function profile(
  name: string,
  arch: string | null,
  gigahertz: number,
  rows: Readonly<Record<FigureName, Row>>,
): ProfileData {
  const figures = Object.fromEntries(
    Object.entries(rows).map(([key, [cycles, confidence, source]]) => [
      key,
      { cycles, confidence: confidences[confidence], source },
    ]),
  ) as Record<FigureName, Figure>;
  return { name, arch, gigahertz, figures };
}

const convention = 'by definition of the flat profile';
const one: Row = [1, 'H', convention];
const none: Row = [0, 'H', convention];

const goldenCove = 'jia.je, Intel Golden Cove, 2025-01-10';
const chipsV2 = 'Chips and Cheese, Neoverse V2 in Graviton 4, 2024-07-22';
const neoverseV2 = 'jia.je, Neoverse V2, 2024-11-07, quoting the core manual';
const coreToCore = 'Chips and Cheese, Core to Core Latency Data on Large Systems, 2023-11-07';
const noBroadcast = 'the processor interrupts; INVLPGB is not modelled';
const folklore = 'order of magnitude, no single source';
const shootdown = 'fitted to R. van Riel, INVLPGB series, cover letters 2025-01 and 2025-02';
const noTags = 'the processor has no memory tags';
const tagging = 'Arm Cortex-A720 Software Optimization Guide 109720, arithmetic and tag store instructions';
const schedule = 'LLVM AArch64SchedNeoverseV2.td, tag stores';
const inferredLookup = 'inferred from the size of maple nodes, 256 bytes with at most 16 slots';
const inferredWalk = 'inferred: four entries';
const switching = 'pipe ping-pong measurements, direct part of a switch';

export const profileData = {
  flat: profile('flat', null, 1, {
    l1Hit: one,
    l2Hit: one,
    l3Hit: one,
    memory: one,
    lineTransfer: none,
    tlbL2Hit: none,
    walkReference: none,
    atomicUpdate: one,
    kernelEntry: one,
    faultEntry: one,
    pageCopy: one,
    pageCopyCold: one,
    interruptSend: one,
    interruptSendPerTarget: none,
    interruptLatency: one,
    interruptEntry: one,
    invalidatePage: one,
    invalidatePerTarget: none,
    invalidateAll: one,
    switchTable: one,
    contextSwitch: one,
    randomTag: one,
    twoTagStores: [2, 'H', convention],
    vmaLookup: none,
    tableWalk: none,
    tagBlock: one,
  }),
  'sapphire-rapids': profile('sapphire-rapids', 'x86_64', 3.0, {
    l1Hit: [5, 'H', goldenCove],
    l2Hit: [16, 'H', goldenCove],
    l3Hit: [100, 'M', `about 33 ns: ${chipsV2}`],
    memory: [340, 'L', '110 to 120 ns, second hand'],
    lineTransfer: [177, 'H', `59 ns mean: ${coreToCore}`],
    tlbL2Hit: [7, 'H', `${goldenCove}; Linux perf spr-metrics tma_dtlb_load`],
    walkReference: [2, 'M', 'inferred from warm walk times'],
    atomicUpdate: [20, 'L', folklore],
    kernelEntry: [300, 'L', folklore],
    faultEntry: [600, 'L', folklore],
    pageCopy: [300, 'L', 'inferred from L2 bandwidth'],
    pageCopyCold: [1500, 'L', 'inferred from outstanding misses'],
    interruptSend: [3000, 'L', shootdown],
    interruptSendPerTarget: [500, 'L', shootdown],
    interruptLatency: [1000, 'L', shootdown],
    interruptEntry: [2000, 'L', shootdown],
    invalidatePage: [200, 'M', 'comment at tlb_single_page_flush_ceiling, Linux arch/x86/mm/tlb.c'],
    invalidatePerTarget: [0, 'H', noBroadcast],
    invalidateAll: [300, 'L', folklore],
    switchTable: [200, 'L', folklore],
    contextSwitch: [4500, 'L', switching],
    randomTag: [0, 'H', noTags],
    twoTagStores: [0, 'H', noTags],
    vmaLookup: [78, 'L', inferredLookup],
    tableWalk: [20, 'M', inferredWalk],
    tagBlock: [0, 'H', noTags],
  }),
  zen4: profile('zen4', 'x86_64', 3.7, {
    l1Hit: [4, 'M', 'Chips and Cheese, Zen 4 part 2, 2022-11'],
    l2Hit: [14, 'M', 'Chips and Cheese, Zen 4 part 2, 2022-11'],
    l3Hit: [67, 'M', '18 ns on Zen 4c: Chips and Cheese'],
    memory: [420, 'M', `about 114 ns: ${chipsV2}`],
    lineTransfer: [370, 'L', 'about 100 ns between core complexes; 75 cycles within one'],
    tlbL2Hit: [7, 'H', chipsV2],
    walkReference: [2, 'M', 'inferred from warm walk times'],
    atomicUpdate: [15, 'L', folklore],
    kernelEntry: [300, 'L', folklore],
    faultEntry: [600, 'L', folklore],
    pageCopy: [300, 'L', 'inferred from L2 bandwidth'],
    pageCopyCold: [1500, 'L', 'inferred from outstanding misses'],
    interruptSend: [3700, 'L', shootdown],
    interruptSendPerTarget: [600, 'L', shootdown],
    interruptLatency: [1200, 'L', shootdown],
    interruptEntry: [2400, 'L', shootdown],
    invalidatePage: [200, 'L', folklore],
    invalidatePerTarget: [0, 'H', noBroadcast],
    invalidateAll: [300, 'L', folklore],
    switchTable: [200, 'L', folklore],
    contextSwitch: [4500, 'L', switching],
    randomTag: [0, 'H', noTags],
    twoTagStores: [0, 'H', noTags],
    vmaLookup: [66, 'L', inferredLookup],
    tableWalk: [16, 'M', inferredWalk],
    tagBlock: [0, 'H', noTags],
  }),
  'neoverse-v2': profile('neoverse-v2', 'arm64', 2.8, {
    l1Hit: [4, 'H', neoverseV2],
    l2Hit: [11, 'H', neoverseV2],
    l3Hit: [68, 'H', chipsV2],
    memory: [320, 'H', `114 ns: ${chipsV2}`],
    lineTransfer: [126, 'H', `30 to 60 ns: ${chipsV2}`],
    tlbL2Hit: [5, 'H', neoverseV2],
    walkReference: [2, 'M', 'inferred from warm walk times'],
    atomicUpdate: [8, 'L', 'LSE near atomics'],
    kernelEntry: [250, 'L', folklore],
    faultEntry: [500, 'L', folklore],
    pageCopy: [300, 'L', 'inferred from L2 bandwidth'],
    pageCopyCold: [1500, 'L', 'inferred from outstanding misses'],
    interruptSend: [3000, 'L', folklore],
    interruptSendPerTarget: [500, 'L', folklore],
    interruptLatency: [1000, 'L', folklore],
    interruptEntry: [2000, 'L', folklore],
    invalidatePage: [600, 'L', 'TLBI broadcast and DSB'],
    invalidatePerTarget: [10, 'L', folklore],
    invalidateAll: [600, 'L', folklore],
    switchTable: [50, 'L', folklore],
    contextSwitch: [4500, 'L', switching],
    randomTag: [2, 'M', `a latency of 2 with GCR_EL1.RRND = 1: ${tagging}`],
    twoTagStores: [1, 'H', `each a store on one of two pipes, zeroing or not: ${schedule}`],
    vmaLookup: [57, 'L', inferredLookup],
    tableWalk: [16, 'M', inferredWalk],
    tagBlock: [1, 'L', 'a guess, as a store of a line; no published figure'],
  }),
} as const;
