/**
 * A debugger on one CPU reads and changes a read-only page of its target on another. The target has forked before, so
 * two processes share the page: the poke goes against the protection of the mapping (FOLL_FORCE), breaks the sharing
 * for the target alone, and leaves the target's page-table entry read-only.
 */
import { defineScenario } from 'tablewalk';

const PAGE = 4096;
const BEFORE = 0x1122_3344_5566_7788n;
const AFTER = 0xcafe_f00dn;

export default defineScenario({
  title: 'a debugger pokes a read-only page of its target',
  description: 'PTRACE_POKEDATA copies a page that the target may not write and shares with its child',
  cpus: 2,
  placement: { target: 0, debugger: 1 },
  programs: {
    *target(u, share) {
      const page = yield* u.must(u.mmap({ bytes: PAGE, prot: 'rw' }));
      yield* u.must(u.store(page, BEFORE));
      yield* u.must(u.mprotect(page, PAGE, 'r'));
      const child = yield* u.must(
        u.fork(function* (c, shared) {
          yield* shared.wait('poked');
          shared.set('child sees', yield* c.must(c.load(page)));
        }, 'child'),
      );
      share.set('page', page);
      yield* share.wait('poked');
      share.set('target sees', yield* u.must(u.load(page)));
      const refused = yield* u.attempt(u.store(page, 0n));
      yield* u.check(!refused.ok, 'the page became writable');
      yield* u.must(u.wait(child));
    },
    *debugger(u, share) {
      const page = yield* share.waitWord('page');
      const target = u.pidOf('target');
      // process_vm_writev may do no more than the target itself, which may not write here.
      const write = yield* u.processVmWritev(target, [{ address: page, bytes: 8 }], new Uint8Array(8));
      yield* u.check(!write.ok, 'process_vm_writev wrote to a read-only page');
      yield* u.must(u.ptraceAttach(target));
      const before = yield* u.must(u.peek(target, page));
      yield* u.must(u.poke(target, page, AFTER));
      share.set('poked', true);
      yield* u.must(u.ptraceDetach(target));
      return before;
    },
  },
  always: {
    'the mapping of the target is read-only once it is known': (w) => {
      const page = w.share.getWord('page');
      const vma = page === undefined ? undefined : w.process('target')?.vmaAt(page);
      return vma === undefined || vma.permissions === 'r--p';
    },
  },
  finally: {
    'the target reads what the debugger wrote': (w) => w.share.get('target sees') === AFTER,
    'the child still reads what the target wrote': (w) => w.share.get('child sees') === BEFORE,
    "the target's page is its own and not writable": (w) => {
      const page = w.process('target')?.pageAt(w.share.getWord('page') ?? 0n);
      return page?.exclusive === true && !page.writable;
    },
  },
});
