/**
 * Finds frames that go back to the allocator while something still maps, pins or translates to them: a count was dropped that
 * somebody relied on. The kernel's own counts are not asked, as it is they that would be wrong.
 */
import type { CheckDefinition } from './check.ts';
import type { Watch } from './watch.ts';

const NAME = 'frame-freed-in-use';

export const frameFreedInUse: CheckDefinition = {
  name: NAME,
  rule: 'A frame goes back to the allocator only when no entry of any table maps it and nobody has it pinned.',
  source:
    'Linux mm/page_alloc.c, `free_pages_prepare`, `page_expected_state`; Documentation/core-api/pin_user_pages.rst',
  attach(watch) {
    watch.mappings();
    watch.pins();
    watch.onFrames({ freed: (frame, order) => look(watch, frame, order) });
  },
};

function look(watch: Watch, head: number, order: number): void {
  const mappings = watch.mappings();
  const name = `frame 0x${head.toString(16)}`;
  const pins = watch.pins().pins(head);
  if (pins > 0) {
    watch.pins().forget(head);
    watch.report(NAME, `${name} is freed while ${pins === 1 ? 'a pin is' : `${pins} pins are`} on it`, [
      name,
    ]);
  }
  if (mappings.wholes(head) > 0) watch.report(NAME, `${name} is freed while a huge page maps it`, [name]);
  for (let frame = head; frame < head + 2 ** order; frame++) {
    const entries = mappings.ptes(frame);
    if (entries === 0) continue;
    const which = `frame 0x${frame.toString(16)}`;
    watch.report(NAME, `${which} is freed while ${entries === 1 ? 'a pte maps' : `${entries} ptes map`} it`, [
      which,
    ]);
    return;
  }
}
