/**
 * What a present leaf may say, by the VMA it lies in: never more rights than the VMA, the protection that the VMA gives,
 * and writable only where a write may not be seen by anybody else.
 * @see Linux mm/memory.c, `do_wp_page`, `vm_normal_page`; include/linux/rmap.h on PageAnonExclusive; mm/page_table_check.c
 */
import { ENTRY_KEY_MASK, ENTRY_MEMORY_TYPE_SHIFT, EntryFlag } from '../../arch/paging-format.ts';
import { FrameFlag } from '../../kernel/frame/frame-flags.ts';
import type { VmArea } from '../../kernel/mm/vma.ts';
import { VM_MIXEDMAP, VM_PFNMAP, VM_SHARED, VM_UFFD_WP, VM_WRITE } from '../../kernel/mm/vma-flags.ts';
import { vmaIsAccessible, vmaPageProtection } from '../../kernel/mm/vma-protection.ts';
import { type Audit, frameName, pageName } from './audit.ts';

/** What every leaf of a VMA has alike; the rest depends on the page and on what was done to it. */
const OF_THE_VMA =
  EntryFlag.User |
  EntryFlag.Exec |
  EntryFlag.Protnone |
  EntryFlag.Guarded |
  EntryFlag.PrivilegedExec |
  ENTRY_KEY_MASK |
  (7 << ENTRY_MEMORY_TYPE_SHIFT);

/** A present leaf of any level; `frame` is the one that it names. */
export interface Leaf {
  readonly vma: VmArea;
  readonly page: number;
  readonly level: number;
  readonly frame: number;
  readonly flags: number;
}

export function auditRights(audit: Audit, { vma, page, flags }: Leaf): void {
  const place = pageName(vma.mm, page);
  // Marked for NUMA balancing, it has no rights until the next access.
  const marked = (flags & EntryFlag.Protnone) !== 0 && vmaIsAccessible(vma);
  const expected = marked ? vma.mm.kernel.arch.pageProtection(0, 0) : vmaPageProtection(vma);
  const different = (flags ^ expected) & OF_THE_VMA;
  if (different !== 0) {
    audit.report(`${place}: the protection differs from its VMA's by 0x${(different >>> 0).toString(16)}`);
  }
  const writable = (flags & EntryFlag.Write) !== 0;
  if (writable && marked) audit.report(`${place} is marked for NUMA balancing, and writable`);
  if (writable && (vma.flags & VM_WRITE) === 0) audit.report(`${place} is writable, ${vma.name} is not`);
  if ((flags & EntryFlag.UffdWp) !== 0) {
    if (writable) audit.report(`${place} is write-protected by userfaultfd, and writable`);
    if ((vma.flags & VM_UFFD_WP) === 0) audit.report(`${place} is write-protected by no userfaultfd`);
  }
  if ((flags & EntryFlag.Invalid) !== 0) audit.report(`${place} is a huge page that is being split`);
}

/** The zero page, small or huge: of memory nobody has written to. */
export function auditZeroLeaf(audit: Audit, { vma, page, flags, level }: Leaf): void {
  const place = pageName(vma.mm, page);
  if ((flags & EntryFlag.Write) !== 0) audit.report(`${place} is the zero page, and writable`);
  const small = level === audit.kernel.pageTables.lastLevel;
  if (small && (flags & EntryFlag.Special) === 0) audit.report(`${place} is the zero page, and not special`);
}

/** Memory of a device: in a mapping that says so, and none of the kernel's own. @see mm/memory.c, `vm_normal_page` */
export function auditDeviceLeaf(audit: Audit, { vma, page, frame }: Leaf): void {
  const place = pageName(vma.mm, page);
  if ((vma.flags & (VM_PFNMAP | VM_MIXEDMAP)) === 0) {
    audit.report(`${place} is special, and ${vma.name} maps no device`);
  }
  if (audit.kernel.frames.owns(frame))
    audit.report(`${place} is special, and ${frameName(frame)} is the kernel's`);
  else if (!audit.kernel.machine.memory.hasFrame(frame)) {
    audit.report(`${place} maps ${frameName(frame)}, where no device is`);
  }
}

/** A page of memory that is counted: whose it is, and that the other side knows of this mapping. */
export function auditOwner(audit: Audit, leaf: Leaf): void {
  const { frames } = audit.kernel;
  const { vma, page, frame, flags } = leaf;
  const place = pageName(vma.mm, page);
  const writable = (flags & EntryFlag.Write) !== 0;
  if (!frames.hasFlag(frame, FrameFlag.Anon)) {
    if (writable && (vma.flags & VM_SHARED) === 0) {
      audit.report(`${place} of a private mapping writes to the file's ${frameName(frame)}`);
    }
    if (frames.mapping(frame) !== vma.file?.mapping)
      audit.report(`${place} has another file's ${frameName(frame)}`);
  } else {
    if (writable && !frames.hasFlag(frame, FrameFlag.AnonExclusive)) {
      audit.report(`${place} is writable, ${frameName(frame)} not exclusive`);
    }
    const { anonVmaChain } = vma;
    const mapping = frames.mapping(frame);
    if (!anonVmaChain.some(({ anonVma }) => anonVma === mapping)) {
      audit.report(`${place}: ${vma.name} is not chained to the anon_vma of ${frameName(frame)}`);
    }
  }
  if (frames.index(frame) !== vma.indexOf(page)) {
    audit.report(`${place} is at offset ${vma.indexOf(page)}, ${frameName(frame)} at ${frames.index(frame)}`);
  }
}
