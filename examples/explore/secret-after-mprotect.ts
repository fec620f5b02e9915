/**
 * Something to explore: memory is forbidden, and only then gets a secret, through another mapping of the same pages. Who reads
 * it as another process may see what was there before, or nothing; not the secret. A design of remote access that asks for the
 * rights too early, or not once more at the end, gives it away:
 *
 *     tablewalk explore examples/explore/secret-after-mprotect.ts --design v6
 *     tablewalk explore examples/explore/secret-after-mprotect.ts --design n1
 */
import { defineScenario } from 'tablewalk';

const PAGE = 4096;
const WINDOW = 0x1000_0000n;
const ALIAS = 0x2000_0000n;
const PUBLIC = 1;
const SECRET = 2;

export default defineScenario({
  title: 'a read beside mprotect(PROT_NONE) of what becomes secret',
  cpus: 2,
  placement: { target: 0, reader: 1 },
  timeline: false,
  programs: {
    *target(u, share) {
      const fd = yield* u.must(u.memfdCreate('pages'));
      yield* u.must(u.pwrite(fd, new Uint8Array(2 * PAGE).fill(PUBLIC), 0));
      const map = { bytes: 2 * PAGE, shared: true, fixed: true, populate: true, fd } as const;
      yield* u.must(u.mmap({ ...map, address: WINDOW, prot: 'r' }));
      yield* u.must(u.mmap({ ...map, address: ALIAS, prot: 'rw' }));
      share.set('readable', true);
      yield* u.must(u.mprotect(WINDOW, 2 * PAGE, 'none'));
      yield* u.must(u.store(ALIAS, SECRET, 1));
      yield* u.must(u.store(ALIAS + BigInt(PAGE), SECRET, 1));
    },
    *reader(u, share) {
      yield* share.wait('readable');
      const bytes = yield* u.must(u.accessProcessVm(u.pidOf('target'), WINDOW, 2 * PAGE));
      return bytes.includes(SECRET);
    },
  },
  finally: {
    'the secret is not read': (world) => world.value('reader') !== true,
  },
});
