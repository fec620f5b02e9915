/** The calls of `User` for drivers that pin memory, iommufd, RDMA, AF_XDP and vDPA: what each refuses, and in what they differ. */
import { describe, expect, it } from 'vitest';
import { answersOf, memory, P, PAGE, tell } from './pin-calls-world.ts';

describe('iommufd', () => {
  it('pins, when a device comes, what another process has mapped', () => {
    const answers = answersOf(function* (u, share) {
      const fd = yield* u.must(u.openDriver('iommufd', { attached: false }));
      const child = yield* u.must(
        u.fork(function* (c, shared) {
          const start = yield* memory(c, 3);
          yield* c.must(c.iommufdMap(fd, { iova: 0x1000n, address: start, bytes: 3 * PAGE }));
          shared.set('mapped', true);
          yield* shared.wait('attached');
          shared.set('child sees', yield* c.must(c.load(start + P, 1)));
          shared.set('counts', JSON.stringify(c.pinnedPages()));
        }, 'child'),
      );
      yield* share.wait('mapped');
      const before = yield* tell(u.dmaRead(fd, 0x2000n, 1));
      yield* u.must(u.iommufdAttach(fd));
      const again = yield* tell(u.iommufdAttach(fd));
      yield* u.must(u.dmaWrite(fd, 0x2000n, Uint8Array.of(99)));
      share.set('attached', true);
      yield* u.must(u.wait(child));
      const after = [...(yield* u.must(u.dmaRead(fd, 0x3000n, 1)))].join();
      const late = yield* tell(u.iommufdUnmap(fd, { iova: 0x1000n, bytes: PAGE }));
      const all = yield* tell(u.iommufdUnmap(fd, { all: true }));
      return [before, again, String(share.get('child sees')), share.get('counts'), after, late, all];
    });
    expect(answers).toEqual([
      'EFAULT',
      'EBUSY',
      '99',
      '{"pinned":3,"locked":0,"user":0}',
      '3',
      'ENOENT',
      '12288',
    ]);
  });

  it('cannot pin for a process that is gone', () => {
    const answer = answersOf(function* (u) {
      const fd = yield* u.must(u.openDriver('iommufd', { attached: false }));
      const child = yield* u.must(
        u.fork(function* (c) {
          const start = yield* memory(c, 1);
          yield* c.must(c.iommufdMap(fd, { iova: 0n, address: start, bytes: PAGE }));
        }, 'child'),
      );
      yield* u.must(u.wait(child));
      return yield* tell(u.iommufdAttach(fd));
    });
    expect(answer).toBe('EFAULT');
  });
});

describe('rdma', () => {
  it('tells what is wrong with a region', () => {
    const answers = answersOf(function* (u) {
      const start = yield* memory(u, 2);
      const fd = yield* u.must(u.openDriver('rdma'));
      const reg = (address: bigint, bytes: bigint | number, more = {}) =>
        tell(u.ibRegMr(fd, { address, bytes, ...more }));
      const out = [
        yield* reg(start, 0),
        yield* reg(-P, 2 * PAGE),
        yield* reg(start, PAGE, { onDemand: true }),
        yield* reg(start + 1n, PAGE),
        yield* reg(start, PAGE, { write: false }),
        yield* tell(u.ibDeregMr(fd, 1)),
        yield* tell(u.dmaWrite(fd, start, Uint8Array.of(1))),
        yield* tell(u.ibDeregMr(fd, 1)),
      ];
      yield* u.must(u.setrlimit('memlock', { soft: 0, hard: 0 }));
      yield* u.must(u.setuid(1000));
      return [...out, yield* reg(start, PAGE)];
    });
    expect(answers).toEqual(['EINVAL', 'EINVAL', 'EOPNOTSUPP', '1', '2', 'ok', 'EFAULT', 'EINVAL', 'EPERM']);
  });

  it.each([
    ['core', 0],
    ['siw', 0],
    ['usnic', 2],
    ['qib', 0],
  ] as const)('%s: after a failure half-way %i pages are still counted', (adapter, counted) => {
    const answers = answersOf(function* (u) {
      const start = yield* memory(u, 4);
      yield* u.must(u.munmap(start + 2n * P, PAGE));
      const fd = yield* u.must(u.openDriver('rdma', { adapter }));
      return [yield* tell(u.ibRegMr(fd, { address: start, bytes: 4 * PAGE })), u.pinnedPages().pinned];
    });
    expect(answers).toEqual(['EFAULT', counted]);
  });
});

describe('xdp', () => {
  it.each([
    ['a chunk below 2048', { chunkSize: 1024 }, 'EINVAL'],
    ['a chunk above a page', { chunkSize: 8192 }, 'EINVAL'],
    ['a chunk that is no power of two', { chunkSize: 3000, bytes: 3000 }, 'EINVAL'],
    ['the same, unaligned', { chunkSize: 3000, unalignedChunks: true }, 'ok'],
    ['no whole number of chunks', { bytes: 6000 }, 'EINVAL'],
    ['smaller than a chunk', { bytes: 100, unalignedChunks: true }, 'EINVAL'],
    ['no room beside the headroom', { chunkSize: 2048, headroom: 2048 - 256 }, 'EINVAL'],
    ['the largest headroom', { chunkSize: 2048, headroom: 2048 - 257 }, 'ok'],
    ['an address inside a page', { offset: 16 }, 'EINVAL'],
  ])('%s', (_, { offset = 0, ...more }: Record<string, unknown>, expected) => {
    const answer = answersOf(function* (u) {
      const start = yield* memory(u, 2);
      const fd = yield* u.must(u.openDriver('xdp'));
      return yield* tell(
        u.xdpUmemReg(fd, { address: start + BigInt(offset as number), bytes: 2 * PAGE, ...more }),
      );
    });
    expect(answer).toBe(expected);
  });

  it('keeps in the user’s count what it could not pin', () => {
    const answers = answersOf(function* (u) {
      const start = yield* memory(u, 4);
      yield* u.must(u.munmap(start + 3n * P, PAGE));
      yield* u.must(u.setuid(1000));
      const fd = yield* u.must(u.openDriver('xdp'));
      const part = yield* tell(u.xdpUmemReg(fd, { address: start, bytes: 4 * PAGE }));
      const count = u.pinnedPages().user;
      const whole = yield* tell(u.xdpUmemReg(fd, { address: start, bytes: 2 * PAGE }));
      const twice = yield* tell(u.xdpUmemReg(fd, { address: start, bytes: 2 * PAGE }));
      return [part, count, whole, twice];
    });
    expect(answers).toEqual(['ENOMEM', 1, 'ok', 'EBUSY']);
  });
});

describe('vhost-vdpa', () => {
  it('takes messages from its owner only, and whole runs of frames away', () => {
    const answers = answersOf(function* (u, share) {
      const start = yield* memory(u, 4);
      const fd = yield* u.must(u.openDriver('vhost-vdpa'));
      const map = (iova: bigint, bytes: number, more = {}) =>
        tell(u.vhostVdpaMap(fd, { iova, address: start, bytes, ...more }));
      const child = yield* u.must(
        u.fork(function* (c, shared) {
          const foreign = c.vhostVdpaMap(fd, { iova: 0n, address: start, bytes: PAGE });
          shared.set('child', yield* tell(foreign));
        }, 'child'),
      );
      yield* u.must(u.wait(child));
      const out = [
        String(share.get('child')),
        yield* map(0n, 0),
        yield* map(-P, 2 * PAGE),
        yield* map(0x1000n, 4 * PAGE, { access: 'ro' }),
        yield* map(0x4000n, PAGE),
        yield* tell(u.dmaWrite(fd, 0x1000n, Uint8Array.of(1))),
        [...(yield* u.must(u.dmaRead(fd, 0x3000n, 1)))].join(),
        yield* tell(u.vhostVdpaUnmap(fd, { iova: 0n, bytes: 0x10000 })),
        JSON.stringify(u.pinnedPages()),
      ];
      return out;
    });
    expect(answers).toEqual([
      'EPERM',
      'EINVAL',
      'EINVAL',
      'ok',
      'EEXIST',
      'EFAULT',
      '3',
      'ok',
      '{"pinned":0,"locked":0,"user":0}',
    ]);
  });
});

describe('vduse and videobuf', () => {
  it('vduse takes its whole bounce buffer', () => {
    const answers = answersOf(function* (u) {
      const start = yield* memory(u, 3);
      const fd = yield* u.must(u.openDriver('vduse', { bounceBytes: 2 * PAGE }));
      const reg = (address: bigint, bytes: number, iova = 0n) =>
        tell(u.vduseRegUmem(fd, { iova, address, bytes }));
      return [
        yield* reg(start, PAGE),
        yield* reg(start + 1n, 2 * PAGE),
        yield* reg(start, 2 * PAGE, 0x1000n),
        yield* tell(u.vduseDeregUmem(fd, 2 * PAGE)),
        yield* reg(start, 2 * PAGE),
        yield* reg(start, 2 * PAGE),
        yield* tell(u.vduseDeregUmem(fd, PAGE)),
        yield* tell(u.vduseDeregUmem(fd, 2 * PAGE)),
      ];
    });
    expect(answers).toEqual(['EINVAL', 'EINVAL', 'EINVAL', 'ENOENT', 'ok', 'EEXIST', 'EINVAL', 'ok']);
  });

  it('a video buffer begins and ends anywhere, and goes one way', () => {
    const answers = answersOf(function* (u) {
      const start = yield* memory(u, 3);
      const fd = yield* u.must(u.openDriver('videobuf'));
      const out = [
        yield* tell(u.videobufUnmap(fd)),
        yield* tell(u.videobufMap(fd, start, 0, true)),
        yield* tell(u.videobufMap(fd, start + P - 2n, 4, true)),
        yield* tell(u.videobufMap(fd, start, PAGE, true)),
        yield* tell(u.dmaWrite(fd, 0n, Uint8Array.of(1, 2, 3, 4, 5))),
        yield* tell(u.dmaRead(fd, 0n, 1)),
        String(yield* u.must(u.load(start + P - 2n, 4))),
        yield* tell(u.videobufUnmap(fd)),
      ];
      return out;
    });
    expect(answers).toEqual(['EINVAL', 'EINVAL', 'ok', 'EBUSY', '4', 'EFAULT', `${0x0403_0201}`, 'ok']);
  });
});
