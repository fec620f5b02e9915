/**
 * Why get_user_pages lost its `vmas` argument in Linux 6.5, first form. A driver pins three pages of two mappings and gets the
 * VMA of each, lets mmap_lock go, and keeps the pointers. A thread of the process unmaps the second mapping, and another
 * process maps something: VMAs come from a cache that hands the object given back last out first, so the pointer is first
 * one to nothing and then one to a VMA of somebody else. The pages are pinned and stay what they were.
 * Today's driver asks for one page and its VMA under one hold of the lock (get_user_page_vma_remote), and is told the truth:
 * there is no page.
 */
import { defineScenario } from 'tablewalk';

const PAGE = 4096;
const at = (start: bigint, page: number): bigint => start + BigInt(page * PAGE);

export default defineScenario({
  title: 'vmas[i] after mmap_lock was let go: freed, then a VMA of another process',
  cpus: 3,
  placement: { driver: 0, unmapper: 1, stranger: 2 },
  programs: {
    *driver(u, share) {
      const start = yield* u.must(u.mmap({ bytes: 3 * PAGE, prot: 'rw' }));
      // Another protection makes the third page a VMA of its own.
      yield* u.must(u.mprotect(at(start, 2), PAGE, 'r'));
      const thread = yield* u.must(
        u.cloneVm(function* (t, shared) {
          yield* shared.wait('pinned');
          yield* t.must(t.munmap(at(start, 2), PAGE));
          shared.set('unmapped', true);
        }, 'unmapper'),
      );
      const pins = yield* u.must(u.legacyPinUserPages({ address: start, pages: 3 }));
      share.set('under the lock', pins.vmas.map(({ fate }) => fate).join(' '));
      share.set('pinned', true);
      yield* share.wait('unmapped');
      const freed = yield* u.must(u.legacyVma(pins.fd, 2));
      share.set('after munmap', `${freed.fate} ${freed.reads.start}`);
      share.set('freed', true);
      yield* share.wait('mapped');
      const reused = yield* u.must(u.legacyVma(pins.fd, 2));
      share.set('after another mmap', `${reused.fate}: ${reused.reads.mm}`);
      const now = yield* u.getUserPageVma({ address: at(start, 2) });
      share.set('today, unmapped page', now.ok ? 'a VMA' : 'errno' in now ? now.errno : now.signal);
      const whole = yield* u.must(u.getUserPageVma({ address: start }));
      share.set('today, mapped page', whole.start === start && whole.end === at(start, 2));
      yield* u.must(u.close(pins.fd));
      yield* u.must(u.wait(thread));
    },
    *stranger(u, share) {
      yield* share.wait('freed');
      yield* u.must(u.mmap({ bytes: PAGE, prot: 'rw' }));
      share.set('mapped', true);
    },
  },
  finally: {
    'under the lock all three are what they are': (w) =>
      w.share.get('under the lock') === 'unchanged unchanged unchanged',
    'after munmap the pointer is one to freed memory': (w) => w.share.get('after munmap') === 'freed null',
    'and later one to a VMA of another process': (w) =>
      w.share.get('after another mmap') === 'another mm: mm of stranger',
    'both uses are told of': (w) => w.counter('warning') === 2,
    'today the driver learns that the page is gone': (w) => w.share.get('today, unmapped page') === 'EFAULT',
    'and gets the range of one that is there': (w) => w.share.get('today, mapped page') === true,
  },
  report: (w) => [
    {
      heading: 'What is vmas[2], the VMA of the third page?',
      table: {
        columns: ['question', 'answer'],
        rows: [
          ['all three, while mmap_lock is held', String(w.share.get('under the lock'))],
          [
            'after munmap of its page: the object, and the start it tells',
            String(w.share.get('after munmap')),
          ],
          ['after another process has mapped something', String(w.share.get('after another mmap'))],
          ['get_user_page_vma_remote of the page that is gone', String(w.share.get('today, unmapped page'))],
          ['does it give the right range of one that is there?', String(w.share.get('today, mapped page'))],
          ['uses that the kernel was warned of', w.counter('warning')],
        ],
      },
    },
  ],
});
