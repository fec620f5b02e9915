/** The columns of `maps` for x86-64: rights combined over the levels, memory type by PAT index, protection key. */
import { hex } from '../base/u64.ts';
import type { X86Dump } from '../conformance/maps/x86_64-dump.ts';
import type { X86Rights } from '../conformance/maps/x86_64-ranges.ts';
import { countsText, type MapsColumns } from './maps-columns.ts';

const PAGE_NAMES = ['4K', '2M', '1G'] as const;

/** `UWXG` with `-` where not so; `R` in front when a reserved bit makes every access fault. */
function rightsText(rights: X86Rights): string {
  const flag = (on: boolean, letter: string): string => (on ? letter : '-');
  return (
    (rights.reserved ? 'R' : '') +
    flag(rights.user, 'U') +
    flag(rights.writable, 'W') +
    flag(rights.executable, 'X') +
    flag(rights.global, 'G')
  );
}

/** @param patTypes names of memory types by PAT index; without them `PAT0` … `PAT7` are shown */
export function x86Columns(patTypes: readonly string[] | null): MapsColumns<X86Rights> {
  return {
    rightsHeads: ['rights'],
    memoryHeads: ['type', 'key'],
    rights: (rights) => [rightsText(rights)],
    memory: ({ patIndex, protectionKey }) => [
      patTypes?.[patIndex] ?? `PAT${patIndex}`,
      `${protectionKey || ''}`,
    ],
    pages: ({ pageCounts }) => countsText(PAGE_NAMES.map((name, at) => [pageCounts[at] as number, name])),
    legend:
      'rights, combined over all levels: U user, W writable, X executable, G global, R a reserved bit is set',
    json: ({ rights, pageCounts }) => ({
      user: rights.user,
      writable: rights.writable,
      executable: rights.executable,
      global: rights.global,
      reserved: rights.reserved,
      protectionKey: rights.protectionKey,
      patIndex: rights.patIndex,
      memoryType: patTypes?.[rights.patIndex] ?? null,
      pages: Object.fromEntries(PAGE_NAMES.map((name, at) => [name, pageCounts[at]])),
    }),
  };
}

export function x86HeadLines({ state, levels }: X86Dump): string[] {
  return [
    `registers from ${state.origin}: CR3 ${hex(state.cr3)} (${levels}-level), CR0 ${hex(state.cr0)}, ` +
      `CR4 ${hex(state.cr4)}, EFER ${hex(state.efer)}, MAXPHYADDR ${state.maxPhysAddr}`,
  ];
}
