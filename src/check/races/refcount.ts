/**
 * Finds references that are given up by somebody who has none, before the count gets to 0: every entry that maps a folio and
 * every pin has its share of the count. Counts that have wrapped around are left alone.
 */
import { GUP_PIN_COUNTING_BIAS } from '../../kernel/frame/frame-table.ts';
import type { CheckDefinition } from './check.ts';
import type { Watch } from './watch.ts';

const NAME = 'refcount';

export const refcountRules: CheckDefinition = {
  name: NAME,
  rule: 'The reference count of a folio is at least its map count and its pins, each with its weight; no count is below 0.',
  source:
    'Linux include/linux/mm.h, GUP_PIN_COUNTING_BIAS; include/linux/page_ref.h; mm/gup.c, `try_grab_folio`',
  attach(watch) {
    watch.pins();
    watch.onReferences({
      counted: (head, references, pins) => {
        if (references < 0 || pins < 0) look(watch, head);
      },
    });
  },
};

function look(watch: Watch, head: number): void {
  const { frames } = watch.kernel;
  const pins = watch.pins().pins(head);
  const name = `frame 0x${head.toString(16)}`;
  if (pins < 0) {
    watch.pins().forget(head);
    watch.report(NAME, `${name} is unpinned more often than pinned`, [name]);
    return;
  }
  const references = frames.refcount(head);
  // Freed in this step, or wrapped around.
  if (references <= 0) return;
  const mapped = frames.folioMapcount(head);
  const weight = frames.isLarge(head) ? 1 : GUP_PIN_COUNTING_BIAS;
  if (references >= mapped + pins * weight) return;
  watch.report(
    NAME,
    `${name} has ${references} references: fewer than ${mapped} entries that map it and ${pins} pins need`,
    [name],
  );
}
