/**
 * A kernel that forgets to flush: munmap takes a page away and leaves its translation in the TLB. The frame goes to
 * another process, which writes a secret to it, and the first process reads the secret through the stale translation.
 *
 * Run it with `--retention profile` (a TLB of ordinary size still has the entry), `adversarial` (an entry may stay as
 * long as no instruction removes it) and `none` (nothing is cached, so nothing can be stale): the first two read the
 * secret, and the check names the INVLPG that is missing; the third gets SIGSEGV, and the mistake stays unseen.
 */
import { defineScenario, noStaleTranslation } from 'tablewalk';

const PAGE = 4096;
const SECRET = 0x5ec4e7n;

export default defineScenario({
  title: 'munmap without INVLPG',
  description: 'a page that is gone can still be read, with the data of its next owner',
  arch: 'x86_64',
  cpus: 2,
  placement: { reader: 0, owner: 1 },
  omitTlbFlushes: ['flush_tlb_range'],
  programs: {
    *reader(u, share) {
      // Four pages, so that the frame of the second one goes back alone and is the next to be handed out.
      const first = yield* u.must(u.mmap({ bytes: 4 * PAGE, prot: 'rw' }));
      for (const page of [0n, 1n, 2n, 3n]) yield* u.must(u.store(first + page * 4096n, 1n));
      const page = first + 4096n;
      yield* u.must(u.munmap(page, PAGE));
      share.set('page', page);
      yield* share.wait('secret written');
      const seen = yield* u.attempt(u.load(page));
      share.set('reader sees', seen.ok ? seen.value : 'errno' in seen ? seen.errno : seen.signal);
    },
    *owner(u, share) {
      const own = yield* u.must(u.mmap({ bytes: 2 * PAGE, prot: 'rw' }));
      yield* u.must(u.store(own, 0n));
      yield* share.wait('page');
      yield* u.must(u.store(own + 4096n, SECRET));
      share.set('secret written', true);
    },
  },
  finally: {
    'no CPU uses a translation that the page tables no longer grant': noStaleTranslation,
  },
});
