/**
 * The vmsplice leak, CVE-2020-29374. A child puts a page that it shares with its parent since fork into a pipe by vmsplice, which
 * takes a reference and copies nothing, and unmaps the page. When the parent writes next, Linux up to 5.7 asked only whether
 * anybody else maps the page: nobody does, so it wrote to that very page, and the child reads from the pipe what its parent wrote
 * after the fork. (Zygotes of Android give each app a child of one process with secrets.) Today a write copies a page to which
 * anything but its own mapping has a reference, unless the page is known to be exclusive.
 * @see Jann Horn, Project Zero issue 2045 (2020); Linux commits 17839856fd58, "gup: document and work around 'COW can break either
 *   way' issue", and 09854ba94c6a, "mm: do_wp_page() simplification"
 *
 *     tablewalk explore examples/bugs/vmsplice-cow-leak.ts             the child reads the secret
 *     tablewalk explore examples/bugs/vmsplice-cow-leak.ts --no-bugs   nothing is found
 */
import { defineScenario } from 'tablewalk';

const PAGE = 4096;
const BEFORE = 0x0b1en;
const SECRET = 0x5ec2e7n;

export default defineScenario({
  title: 'a child keeps a reference to a page that its parent writes',
  cpus: 2,
  kernelBugs: ['vmsplice-cow-leak'],
  placement: { parent: 0, child: 1 },
  programs: {
    *parent(u, share) {
      const page = yield* u.must(u.mmap({ bytes: PAGE, prot: 'rw' }));
      yield* u.must(u.store(page, BEFORE));
      const child = yield* u.must(
        u.fork(function* (c, shared) {
          const pipe = yield* c.must(c.pipe());
          yield* c.must(c.vmsplice(pipe.write, page, 8));
          yield* c.must(c.munmap(page, PAGE));
          shared.set('unmapped', true);
          yield* shared.wait('written');
          const bytes = yield* c.must(c.pipeRead(pipe.read, 8));
          shared.set('child reads', new DataView(bytes.buffer).getBigUint64(0, true));
        }, 'child'),
      );
      yield* share.wait('unmapped');
      yield* u.must(u.store(page, SECRET));
      share.set('written', true);
      yield* u.must(u.wait(child));
    },
  },
  finally: {
    'the child sees nothing that was written after the fork': (world) =>
      world.share.get('child reads') === BEFORE,
  },
});
