import { defineScenario } from 'tablewalk';

export default defineScenario({
  title: 'peek at a neighbour',
  cpus: 2,
  programs: {
    *target(u, share) {
      const page = yield* u.must(u.mmap({ bytes: 4096, prot: 'rw' }));
      yield* u.must(u.store(page, 0x1234n));
      share.set('page', page);
      yield* share.wait('done');
    },
    *reader(u, share) {
      const page = yield* share.waitWord('page');
      const { data } = yield* u.must(u.processVmReadv(u.pidOf('target'), [{ address: page, bytes: 8 }]));
      yield* u.check(data[0] === 0x34 && data[1] === 0x12, "the bytes are not the target's");
      share.set('done', true);
    },
  },
});
