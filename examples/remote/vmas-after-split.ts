/**
 * Why get_user_pages lost its `vmas` argument in Linux 6.5, second form: nothing is freed. A driver keeps the VMA of a page; a
 * thread changes the protection of the other half of the mapping, which splits it. The pointer still points to a VMA of the
 * process, but to one that begins behind the page, so that a check of its flags is a check of somebody else's. A second change
 * merges the parts again, and the VMA of the page becomes the one that is given back.
 * Today's driver looks the VMA up when it needs one, under the lock.
 */
import { defineScenario } from 'tablewalk';

const PAGE = 4096;
const at = (start: bigint, page: number): bigint => start + BigInt(page * PAGE);
const VM_WRITE = 2;

export default defineScenario({
  title: 'vmas[i] after a split and a merge: a live VMA that is not the one of the page',
  cpus: 2,
  placement: { driver: 0, protector: 1 },
  programs: {
    *driver(u, share) {
      const start = yield* u.must(u.mmap({ bytes: 4 * PAGE, prot: 'r' }));
      const thread = yield* u.must(
        u.cloneVm(function* (t, shared) {
          yield* shared.wait('pinned');
          yield* t.must(t.mprotect(at(start, 2), 2 * PAGE, 'rw'));
          shared.set('split', true);
          yield* shared.wait('pinned again');
          yield* t.must(t.mprotect(at(start, 2), 2 * PAGE, 'r'));
          shared.set('merged', true);
        }, 'protector'),
      );
      const pins = yield* u.must(u.legacyPinUserPages({ address: start, pages: 4 }));
      share.set('pinned', true);
      yield* share.wait('split');
      const split = yield* u.must(u.legacyVma(pins.fd, 0));
      const beyond = (split.reads.end ?? 0n) <= split.address || (split.reads.start ?? 0n) > split.address;
      share.set('after the split', `${split.fate}${beyond ? ', not of this page' : ''}`);
      share.set('believed writable', (split.reads.flags & VM_WRITE) !== 0);
      const truth = yield* u.must(u.getUserPageVma({ address: start }));
      share.set('is writable', (truth.flags & VM_WRITE) !== 0);
      const again = yield* u.must(u.legacyPinUserPages({ address: at(start, 2), pages: 1 }));
      share.set('pinned again', true);
      yield* share.wait('merged');
      const merged = yield* u.must(u.legacyVma(again.fd, 0));
      share.set('after the merge', merged.fate);
      const whole = yield* u.must(u.getUserPageVma({ address: at(start, 2) }));
      share.set('today', whole.start === start && whole.end === at(start, 4));
      yield* u.must(u.close(again.fd));
      yield* u.must(u.close(pins.fd));
      yield* u.must(u.wait(thread));
    },
  },
  finally: {
    'after the split the pointer is one to the VMA beside the page': (w) =>
      w.share.get('after the split') === 'changed, not of this page',
    'which says that the page may be written': (w) => w.share.get('believed writable') === true,
    'although it may not': (w) => w.share.get('is writable') === false,
    'after the merge the VMA is given back': (w) => w.share.get('after the merge') === 'freed',
    'both uses are told of': (w) => w.counter('warning') === 2,
    'today the driver gets the VMA that there is': (w) => w.share.get('today') === true,
  },
  report: (w) => [
    {
      heading: 'What is vmas[0], the VMA of a page that stays mapped?',
      table: {
        columns: ['question', 'answer'],
        rows: [
          ['after a split', String(w.share.get('after the split'))],
          ['does it say that the page may be written?', String(w.share.get('believed writable'))],
          ['may the page be written?', String(w.share.get('is writable'))],
          ['that of the other half, after the merge', String(w.share.get('after the merge'))],
          ['does get_user_page_vma_remote give the VMA that there is?', String(w.share.get('today'))],
          ['uses that the kernel was warned of', w.counter('warning')],
        ],
      },
    },
  ],
});
