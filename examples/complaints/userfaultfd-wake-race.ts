/**
 * Guests that hang for good, one in millions of faults. A prefetcher fills pages in (and leaves the waking to the end), and a
 * handler serves faults. The handler's UFFDIO_COPY of a page that is there already fails with EEXIST, and the handler takes
 * that for "somebody has served it". But EEXIST says that the page is there, not that whoever waits for it was woken: the
 * guest sleeps on, and so does a debugger whose process_vm_readv came across the same page. What helps is UFFDIO_WAKE.
 * @see github.com/ejc3/fcvm pull request 817; github.com/e2b-dev/infra pull request 2520; userfaultfd(2); Linux fs/userfaultfd.c,
 * `userfaultfd_copy`, `userfaultfd_wake`
 */
import { defineScenario } from 'tablewalk';

const PAGE = 4096;
const MEMORY = 0x1000_0000n;
const CONTENT = 7;
/** How long the handler waits before it looks after a fault that should be served. */
const PATIENCE = 5000;

export default defineScenario({
  title: 'a page that is there, and two that still wait for it',
  cpus: 4,
  placement: { guest: 0, handler: 1, prefetcher: 2, debugger: 3 },
  timeline: false,
  programs: {
    *guest(u, share) {
      yield* u.must(u.mmap({ address: MEMORY, bytes: PAGE, prot: 'rw', fixed: true }));
      const uffd = yield* u.must(u.userfaultfd());
      yield* u.must(uffd.register({ address: MEMORY, bytes: PAGE, missing: true }));
      share.set('fd', uffd.fd);
      yield* share.wait('ready');
      share.set('guest reads', yield* u.must(u.load(MEMORY, 1)));
      yield* share.wait('debugger reads');
    },
    *debugger(u, share) {
      yield* share.wait('ready');
      const range = { address: MEMORY, bytes: 1 };
      const { data } = yield* u.must(u.processVmReadv(u.pidOf('guest'), [range]));
      share.set('debugger reads', data[0] ?? -1);
    },
    *prefetcher(u, share) {
      const theirs = Number(yield* share.waitWord('fd'));
      const uffd = u.uffd(yield* u.must(u.pidfdGetfd(u.pidOf('guest'), theirs)));
      yield* share.wait('both wait');
      const from = new Uint8Array(PAGE).fill(CONTENT);
      yield* u.must(uffd.copy({ address: MEMORY, bytes: PAGE, from, dontWake: true }));
      share.set('filled', true);
    },
    *handler(u, share) {
      const theirs = Number(yield* share.waitWord('fd'));
      const uffd = u.uffd(yield* u.must(u.pidfdGetfd(u.pidOf('guest'), theirs)));
      share.set('ready', true);
      const asleep: number[] = [];
      const look = (): number =>
        asleep.push(['guest reads', 'debugger reads'].filter((name) => share.get(name) === undefined).length);
      for (let faults = 0; faults < 2; faults++) yield* u.must(uffd.read());
      look();
      share.set('both wait', true);
      yield* share.wait('filled');
      const from = new Uint8Array(PAGE).fill(CONTENT);
      const late = yield* uffd.copy({ address: MEMORY, bytes: PAGE, from });
      share.set('late copy', !late.ok && 'errno' in late ? late.errno : 'done');
      look();
      // A handler that stops here has two that wait for ever.
      yield* u.compute(PATIENCE);
      // Time has passed for the others as well where the next step begins.
      yield* u.compute(1);
      look();
      const woken = u.now();
      yield* u.must(uffd.wake({ address: MEMORY, bytes: PAGE }));
      yield* share.wait('guest reads');
      yield* share.wait('debugger reads');
      look();
      share.set('time to wake', u.now() - woken);
      return asleep.join(' ');
    },
  },
  finally: {
    'the copy that comes late finds the page there': ({ share }) => share.get('late copy') === 'EEXIST',
    'that wakes nobody, UFFDIO_WAKE both': (world) => world.value('handler') === '2 2 2 0',
    'after UFFDIO_WAKE both read what was sent': ({ share }) =>
      share.get('guest reads') === BigInt(CONTENT) && share.get('debugger reads') === CONTENT,
  },
  report: (world) => [
    {
      heading: `Who is awake when? ${world.remoteAccess.design}: ${world.remoteAccess.title}`,
      table: {
        columns: ['after', { title: 'asleep', align: 'right' }],
        rows: [
          'two accesses to the page that is missing',
          `UFFDIO_COPY by the prefetcher, without waking; by the handler: ${world.share.get('late copy')}`,
          `another ${PATIENCE.toLocaleString('en-US')} cycles`,
          `UFFDIO_WAKE, ${world.share.get('time to wake')} cycles later`,
        ].map((what, at) => [what, Number(String(world.value('handler')).split(' ')[at])]),
      },
      notes: ['the two are the guest, in its fault, and a debugger, in process_vm_readv'],
    },
  ],
});
