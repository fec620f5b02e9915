/**
 * Why get_user_pages lost its `vmas` argument in Linux 6.5, third form: the caller does nothing wrong. A call that may drop
 * mmap_lock fills a slot, drops the lock to wait for a page that a userfaultfd is to bring, and fills the next one when it
 * is there. Whoever brings it has unmapped the first page meanwhile: the first slot is one to freed memory when the call
 * comes back. The kernel refused `vmas` to such calls (is_valid_gup_args); here that check is left out once.
 * Without `vmas` there is nothing to dangle: process_vm_readv waits for the same page by the same GUP and reads it.
 */
import { defineScenario } from 'tablewalk';

const PAGE = 4096;
const at = (start: bigint, page: number): bigint => start + BigInt(page * PAGE);

export default defineScenario({
  title: 'vmas of a call that drops mmap_lock: the first slot dangles on return',
  cpus: 2,
  placement: { target: 0, driver: 1 },
  programs: {
    *target(u, share) {
      const start = yield* u.must(u.mmap({ bytes: 4 * PAGE, prot: 'rw' }));
      yield* u.must(u.store(start, 1n));
      const uffd = yield* u.must(u.userfaultfd());
      yield* u.must(uffd.register({ address: at(start, 1), bytes: 3 * PAGE, missing: true }));
      share.set('start', start);
      yield* u.must(uffd.read());
      // GUP waits for page 1, and has dropped the lock.
      yield* u.must(u.munmap(start, PAGE));
      yield* u.must(uffd.copy({ address: at(start, 1), bytes: PAGE, from: new Uint8Array(PAGE).fill(7) }));
      yield* share.wait('looked');
      yield* u.must(uffd.read());
      yield* u.must(uffd.copy({ address: at(start, 2), bytes: PAGE, from: new Uint8Array(PAGE).fill(8) }));
      yield* share.wait('read');
    },
    *driver(u, share) {
      const start = yield* share.waitWord('start');
      const pid = u.pidOf('target');
      const args = { pid, address: start, pages: 2, write: true, mayUnlock: true };
      const refused = yield* u.must(u.legacyPinUserPages(args));
      share.set('with the check', refused.pages);
      const pins = yield* u.must(u.legacyPinUserPages({ ...args, guard: false }));
      share.set('pages', pins.pages);
      const first = yield* u.must(u.legacyVma(pins.fd, 0));
      share.set('slot 0', first.fate);
      yield* u.must(u.close(pins.fd));
      share.set('looked', true);
      const data = yield* u.must(u.processVmReadv(pid, [{ address: at(start, 2), bytes: 1 }]));
      share.set('today', data.data[0] ?? -1);
      share.set('read', true);
    },
  },
  finally: {
    'a call that may drop the lock is refused vmas': (w) => w.share.get('with the check') === 0,
    'without the check it gets both pages': (w) => w.share.get('pages') === 2,
    'and the first VMA is freed memory': (w) => w.share.get('slot 0') === 'freed',
    'the refusal and the use are told of': (w) => w.counter('warning') === 2,
    'without vmas the same wait ends well': (w) => w.share.get('today') === 8,
  },
  report: (w) => [
    {
      heading: 'What does a call give that may drop mmap_lock?',
      table: {
        columns: ['question', 'answer'],
        rows: [
          ['pages, when it asks for vmas and the kernel checks that', String(w.share.get('with the check'))],
          ['pages without the check', String(w.share.get('pages'))],
          ['vmas[0] then, on return', String(w.share.get('slot 0'))],
          [
            'the byte that process_vm_readv reads after the same wait, without vmas',
            String(w.share.get('today')),
          ],
          ['uses and refusals that the kernel was warned of', w.counter('warning')],
        ],
      },
    },
  ],
});
