/**
 * Pages that a userfaultfd is to bring. access_remote_vm may not let its lock go, so it cannot wait for them: the read is short,
 * and the one who serves the pages hears nothing of it. process_vm_readv and KVM's worker may (`locked` is passed): they
 * wait until the page is there.
 * @see Linux fs/userfaultfd.c, `handle_userfault`; mm/process_vm_access.c; virt/kvm/async_pf.c; David Hildenbrand, 26 June 2026,
 * "Re: [PATCH v2 0/3] mm: __access_remote_vm with per-VMA lock"
 */
import { defineScenario } from 'tablewalk';

const PAGE = 4096;
const MEMORY = 0x1000_0000n;
const at = (page: number): bigint => MEMORY + BigInt(page * PAGE);

export default defineScenario({
  title: 'S8: remote reads of pages that a userfaultfd is to bring',
  cpus: 3,
  placement: { guest: 0, handler: 1, debugger: 2 },
  timeline: false,
  programs: {
    *guest(u, share) {
      yield* u.must(u.mmap({ address: MEMORY, bytes: 4 * PAGE, prot: 'rw', fixed: true }));
      yield* u.must(u.store(at(0), 1n));
      const uffd = yield* u.must(u.userfaultfd());
      yield* u.must(uffd.register({ address: at(1), bytes: 3 * PAGE, missing: true }));
      const vm = yield* u.must(u.kvmCreateVm({ slots: [{ guest: 0n, address: MEMORY, bytes: 4 * PAGE }] }));
      share.set('fd', uffd.fd);
      yield* share.wait('short reads done');
      const bytes = yield* u.must(u.kvmRead(vm, BigInt(2 * PAGE), 1));
      share.set('KVM', bytes[0] ?? -1);
      share.set('worker', (yield* u.must(u.kvmPageFaults(vm))).async);
      yield* share.wait('served');
      yield* share.wait('readv');
    },
    *handler(u, share) {
      const theirs = Number(yield* share.waitWord('fd'));
      const uffd = u.uffd(yield* u.must(u.pidfdGetfd(u.pidOf('guest'), theirs)));
      const pages: string[] = [];
      while (pages.length < 2) {
        const message = yield* u.must(uffd.read());
        if (message.event !== 'pagefault') continue;
        const page = Number(message.address - MEMORY) / PAGE;
        pages.push(`${page}`);
        yield* u.compute(1000);
        const from = new Uint8Array(PAGE).fill(0x40 + page);
        yield* u.must(uffd.copy({ address: at(page), bytes: PAGE, from }));
      }
      share.set('served', pages.sort().join(' '));
    },
    *debugger(u, share) {
      yield* share.wait('fd');
      const pid = u.pidOf('guest');
      const mem = yield* u.must(u.procMemOpen(pid));
      const alone = yield* u.procMemRead(mem, at(1), 8);
      share.set(
        'mem, the page alone',
        alone.ok ? `${alone.value.length}` : 'errno' in alone ? alone.errno : '',
      );
      share.set('mem, from the page before', (yield* u.must(u.procMemRead(mem, at(1) - 8n, 16))).length);
      const events = yield* u.must(u.accessProcessVm(pid, at(0), 2 * PAGE));
      share.set('access_process_vm', events.length);
      share.set('short reads done', true);
      const begun = u.now();
      const { data } = yield* u.must(u.processVmReadv(pid, [{ address: at(1), bytes: 1 }]));
      share.set('waited', u.now() - begun);
      share.set('readv', data[0] ?? -1);
    },
  },
  finally: {
    'access_remote_vm gives what comes before': ({ share }) =>
      share.get('mem, the page alone') === 'EIO' &&
      share.get('mem, from the page before') === 8 &&
      share.get('access_process_vm') === PAGE,
    'process_vm_readv waits for the page': ({ share }) => share.get('readv') === 0x41,
    'a page of the guest is waited for by a worker': ({ share }) =>
      share.get('KVM') === 0x42 && share.get('worker') === 1,
    'the handler heard of these two pages only': ({ share }) => share.get('served') === '1 2',
  },
  report: (world) => {
    const told = (name: string): string => String(world.share.get(name));
    return [
      {
        heading: `Who waits for the page? ${world.remoteAccess.design}: ${world.remoteAccess.title}`,
        table: {
          columns: ['read', 'gives', 'waits'],
          rows: [
            ['/proc/PID/mem, 8 bytes of the page', told('mem, the page alone'), 'no'],
            [
              '/proc/PID/mem, 8 bytes before it and 8 of it',
              `${told('mem, from the page before')} bytes`,
              'no',
            ],
            ['access_process_vm, the page before and it', `${told('access_process_vm')} bytes`, 'no'],
            ['process_vm_readv', 'the byte sent', `${told('waited')} cycles`],
            ['KVM', 'the byte sent', `${told('worker')} page by its worker`],
          ],
        },
        notes: Object.entries(world.remoteAccess.fallbacks).map(
          ([why, times]) => `left to mmap_lock because of ${why}: ${times}`,
        ),
      },
    ];
  },
});
