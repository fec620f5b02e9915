/**
 * Finds data of files that would never be written: a pte that was dirty goes, and its page does not know.
 * Left out: anonymous pages, whose data goes with their last mapping or is written to swap whatever the pte said.
 */
import { EntryFlag } from '../../arch/paging-format.ts';
import { FrameFlag } from '../../kernel/frame/frame-flags.ts';
import type { CheckDefinition } from './check.ts';
import { EntryKind, type TableChange } from './table-changes.ts';
import type { Watch } from './watch.ts';

const NAME = 'lost-dirty';

export const lostDirty: CheckDefinition = {
  name: NAME,
  rule: 'When a dirty entry of a page of a file goes, the page is marked dirty before its map count falls.',
  source: 'Linux mm/memory.c, `zap_present_folio_ptes`; mm/rmap.c, `try_to_unmap_one`, `folio_mark_dirty`',
  attach(watch) {
    /** Dirty entries that have gone, by frame. */
    const owed = new Set<number>();
    watch.onRun(() => owed.clear());
    watch.onTableChange((change) => note(watch, owed, change));
    watch.onReferences({
      mapped: (frame, entries) => {
        if (owed.size > 0 && entries < 0 && owed.delete(frame)) look(watch, frame);
      },
    });
  },
};

function note({ kernel }: Watch, owed: Set<number>, { old, next, pages }: TableChange): void {
  const { frames } = kernel;
  if (next.kind === EntryKind.Leaf && (next.flags & EntryFlag.Dirty) !== 0) owed.delete(next.frame);
  if (old.kind !== EntryKind.Leaf || (old.flags & EntryFlag.Dirty) === 0 || pages > 1) return;
  if (next.kind === EntryKind.Leaf && next.frame === old.frame) return;
  if (!frames.owns(old.frame) || (old.flags & EntryFlag.Special) !== 0) return;
  if (!frames.hasFlag(old.frame, FrameFlag.Anon)) owed.add(old.frame);
}

function look(watch: Watch, frame: number): void {
  const { frames } = watch.kernel;
  if (frames.hasFlag(frame, FrameFlag.Dirty | FrameFlag.Anon)) return;
  // Nobody can ask for what is in no file any more.
  if (frames.mapping(frame) === null) return;
  const name = `frame 0x${frame.toString(16)}`;
  watch.report(NAME, `${name} is unmapped: the entry was dirty, and the page is not marked`, [name]);
}
