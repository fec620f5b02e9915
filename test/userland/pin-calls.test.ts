/** The calls of `User` for drivers that pin memory, io_uring and VFIO: what each refuses, and in what they differ. */
import { describe, expect, it } from 'vitest';
import { answersOf, memory, P, PAGE, tell } from './pin-calls-world.ts';

describe('io_uring', () => {
  it('tells what is wrong with buffers', () => {
    const answers = answersOf(function* (u) {
      const start = yield* memory(u, 2);
      const ring = yield* u.must(u.openDriver('io_uring'));
      const register = (...ranges: [bigint, bigint | number][]) =>
        tell(
          u.ioUringRegisterBuffers(
            ring,
            ranges.map(([address, bytes]) => ({ address, bytes })),
          ),
        );
      return {
        none: yield* register(),
        'at 0': yield* register([0n, 1]),
        empty: yield* register([start, 0]),
        'above 1 GiB': yield* register([start, (1n << 30n) + 1n]),
        wraps: yield* register([-1n, 1]),
        'not there': yield* register([0x1000n, 1]),
        'second not there': yield* register([start, PAGE], [0x1000n, 1]),
        'unregister without': yield* tell(u.ioUringUnregisterBuffers(ring)),
        'with an empty slot': yield* register([0n, 0], [start + 5n, PAGE]),
        again: yield* register([start, PAGE]),
        unregister: yield* tell(u.ioUringUnregisterBuffers(ring)),
        'no ring': yield* tell(u.ioUringUnregisterBuffers(77)),
        left: JSON.stringify(u.pinnedPages()),
      };
    });
    expect(answers).toEqual({
      none: 'EINVAL',
      'at 0': 'EFAULT',
      empty: 'EFAULT',
      'above 1 GiB': 'EFAULT',
      wraps: 'EOVERFLOW',
      'not there': 'EFAULT',
      'second not there': 'EFAULT',
      'unregister without': 'ENXIO',
      'with an empty slot': 'ok',
      again: 'EBUSY',
      unregister: 'ok',
      'no ring': 'EBADF',
      left: '{"pinned":0,"locked":0,"user":0}',
    });
  });
});

describe('io_uring and VMAs', () => {
  it.each([
    ['today', { anonymous: 'ok', shmem: 'ok', hugetlb: 'ok', 'two VMAs': 'ok', 'two files': 'ok' }],
    ['6.4', { anonymous: 'ok', shmem: 'ok', hugetlb: 'ok', 'two VMAs': 'ok', 'two files': 'EINVAL' }],
    ['v4', { anonymous: 'ok', shmem: 'EOPNOTSUPP', hugetlb: 'ok', 'two VMAs': 'ok', 'two files': 'EINVAL' }],
  ] as const)('checks the VMAs of a buffer as %s', (form, expected) => {
    const answers = answersOf(
      function* (u) {
        const ring = yield* u.must(u.openDriver('io_uring', { form }));
        const register = function* (address: bigint, bytes: number) {
          const answer = yield* tell(u.ioUringRegisterBuffers(ring, [{ address, bytes }]));
          yield* u.ioUringUnregisterBuffers(ring);
          return answer;
        };
        const anonymous = yield* memory(u, 4);
        const fd = yield* u.must(u.memfdCreate('shmem'));
        yield* u.must(u.ftruncate(fd, PAGE));
        const shmem = yield* u.must(u.mmap({ bytes: PAGE, prot: 'rw', shared: true, fd }));
        const huge = yield* u.must(u.mmap({ bytes: 2 ** 21, prot: 'rw', hugetlb: '2MiB' }));
        const answer: Record<string, string> = {
          anonymous: yield* register(anonymous, 4 * PAGE),
          shmem: yield* register(shmem, PAGE),
          hugetlb: yield* register(huge, 2 ** 21),
        };
        yield* u.must(u.mprotect(anonymous + 2n * P, PAGE, 'rwx'));
        answer['two VMAs'] = yield* register(anonymous, 4 * PAGE);
        const place = anonymous + P;
        yield* u.must(u.mmap({ address: place, bytes: PAGE, prot: 'rw', shared: true, fd, fixed: true }));
        answer['two files'] = yield* register(anonymous, 2 * PAGE);
        return answer;
      },
      { hugepages: { '2MiB': 1 } },
    );
    expect(answers).toEqual(expected);
  });
});

describe('io_uring with registered buffers', () => {
  it('reads and writes the pages of the buffer, whatever is mapped there now', () => {
    const answers = answersOf(function* (u) {
      const start = yield* memory(u, 2);
      const ring = yield* u.must(u.openDriver('io_uring'));
      yield* u.must(u.ioUringRegisterBuffers(ring, [{ address: start + 4n, bytes: 2 * PAGE - 4 }]));
      const file = yield* u.must(u.memfdCreate('file'));
      const end = start + 2n * P;
      const out: unknown[] = [];
      for (const [address, bytes] of [
        [start, 8],
        [end - 4n, 8],
        [end - 8n, 8],
        [-4n, 8],
      ] as const) {
        out.push(yield* tell(u.ioUringWriteFixed(ring, { file, address, bytes })));
      }
      out.push(yield* tell(u.ioUringReadFixed(ring, { file, buffer: 1, address: start + 4n, bytes: 1 })));
      out.push(yield* tell(u.ioUringReadFixed(ring, { file: 99, address: start + 4n, bytes: 1 })));
      yield* u.must(u.pwrite(file, Uint8Array.of(5, 6, 7, 8), 0));
      yield* u.must(u.munmap(start, 2 * PAGE));
      const fresh = yield* u.must(u.mmap({ address: start, bytes: 2 * PAGE, prot: 'rw', fixed: true }));
      // Over the border of two pages.
      const address = start + P - 2n;
      out.push(yield* tell(u.ioUringReadFixed(ring, { file, address, bytes: 4 })));
      out.push([...(yield* u.must(u.dmaRead(ring, address, 4)))].join(' '));
      out.push(yield* u.must(u.load(fresh + P - 2n, 4)));
      out.push(yield* tell(u.ioUringWriteFixed(ring, { file, address, bytes: 4, offset: 8 })));
      out.push([...(yield* u.must(u.pread(file, 4, 8)))].join(' '));
      return out.map(String);
    });
    expect(answers).toEqual('EFAULT,EFAULT,8,EFAULT,EFAULT,EBADF,4,5 6 7 8,0,4,5 6 7 8'.split(','));
  });

  it('holds a huge page by one pin, and counts all of it once', () => {
    const answers = answersOf(function* (u) {
      yield* u.must(u.setuid(1000));
      yield* u.must(u.setrlimit('memlock', { soft: 1024 * PAGE }));
      const huge = yield* u.must(u.mmap({ bytes: 3 * 2 ** 21, prot: 'rw' }));
      yield* u.must(u.madvise(huge, 3 * 2 ** 21, 'HUGEPAGE'));
      const first = (huge + 0x1f_ffffn) & ~0x1f_ffffn;
      yield* u.must(u.store(first, 1n));
      yield* u.must(u.store(first + 0x20_0000n, 1n));
      const ring = yield* u.must(u.openDriver('io_uring'));
      const ranges = [first + P, first + 0x1_0000n].map((address) => ({ address, bytes: 64 * PAGE }));
      yield* u.must(u.ioUringRegisterBuffers(ring, ranges));
      const both = JSON.stringify(u.pinnedPages());
      yield* u.must(u.ioUringUnregisterBuffers(ring));
      const over = { address: first, bytes: 2 ** 21 };
      const three = yield* tell(
        u.ioUringRegisterBuffers(ring, [over, { ...over, address: first + 0x20_0000n }]),
      );
      return [both, three, JSON.stringify(u.pinnedPages())];
    });
    expect(answers).toEqual([
      '{"pinned":512,"locked":0,"user":512}',
      'ok',
      '{"pinned":1024,"locked":0,"user":1024}',
    ]);
  });
});

describe('vfio', () => {
  it('tells what is wrong with a mapping', () => {
    const answers = answersOf(function* (u) {
      const start = yield* memory(u, 4);
      const vfio = yield* u.must(u.openDriver('vfio'));
      const map = (iova: bigint, address: bigint, bytes: bigint | number, rights = {}) =>
        tell(u.vfioMapDma(vfio, { iova, address, bytes, ...rights }));
      const unmap = (iova: bigint, bytes: number) => tell(u.vfioUnmapDma(vfio, { iova, bytes }));
      return [
        yield* map(0n, start, 0),
        yield* map(1n, start, PAGE),
        yield* map(0n, start, 100),
        yield* map(-P, start, 2 * PAGE),
        yield* map(0n, start, PAGE, { read: false, write: false }),
        yield* map(0x1000n, start, 2 * PAGE),
        yield* map(0x2000n, start, PAGE),
        yield* map(0x3000n, start + 2n * P, 2 * PAGE, { write: false }),
        yield* unmap(0x1000n, PAGE),
        yield* unmap(0x2000n, 2 * PAGE),
        yield* unmap(0x8000n, PAGE),
        yield* unmap(0x8000n, 0),
        yield* tell(u.dmaWrite(vfio, 0x3000n, Uint8Array.of(1))),
        [...(yield* u.must(u.dmaRead(vfio, 0x4000n, 1)))].join(),
        (yield* u.must(u.dmaRead(vfio, 0x4000n, 3 * PAGE))).length,
        yield* unmap(0x1000n, 4 * PAGE),
        yield* tell(u.dmaRead(vfio, 0x1000n, 1)),
        JSON.stringify(u.pinnedPages()),
      ].map(String);
    });
    expect(answers).toEqual([
      'EINVAL',
      'EINVAL',
      'EINVAL',
      'EOVERFLOW',
      'EINVAL',
      'ok',
      'EEXIST',
      'ok',
      'EINVAL',
      'EINVAL',
      '0',
      'EINVAL',
      'EFAULT',
      '4',
      '4096',
      '16384',
      'EFAULT',
      '{"pinned":0,"locked":0,"user":0}',
    ]);
  });
});

describe('vfio pins', () => {
  it('a mapping that only reads gets a page of its own where there is none yet: no zero page for a device', () => {
    const answers = answersOf(function* (u) {
      const start = yield* u.must(u.mmap({ bytes: PAGE, prot: 'rw' }));
      yield* u.must(u.load(start));
      const vfio = yield* u.must(u.openDriver('vfio'));
      yield* u.must(u.vfioMapDma(vfio, { iova: 0n, address: start, bytes: PAGE, write: false }));
      yield* u.must(u.store(start, 9, 1));
      return [...(yield* u.must(u.dmaRead(vfio, 0n, 1)))];
    });
    expect(answers).toEqual([9]);
  });

  it.each(['remap', 'fault'] as const)(
    'maps frames of another device (%s), without pins or counts',
    (fill) => {
      const answers = answersOf(function* (u) {
        const device = yield* u.must(u.openDevice({ bytes: 2 * PAGE, fill }));
        const start = yield* u.must(u.mmap({ bytes: 2 * PAGE, prot: 'rw', shared: true, fd: device }));
        yield* memory(u, 1);
        const vfio = yield* u.must(u.openDriver('vfio'));
        yield* u.must(u.vfioMapDma(vfio, { iova: 0n, address: start, bytes: 2 * PAGE }));
        yield* u.must(u.dmaWrite(vfio, P, Uint8Array.of(42)));
        const seen = yield* u.must(u.deviceRead(device, 1, PAGE));
        const counts = JSON.stringify(u.pinnedPages());
        return [[...seen].join(), counts, yield* tell(u.vfioUnmapDma(vfio, { all: true }))];
      });
      expect(answers).toEqual(['42', '{"pinned":0,"locked":0,"user":0}', '8192']);
    },
  );

  it('what mlock has locked counts against the limit', () => {
    const answers = answersOf(function* (u) {
      const start = yield* memory(u, 4);
      yield* u.must(u.setrlimit('memlock', { soft: 4 * PAGE }));
      yield* u.must(u.mlock(start, PAGE));
      yield* u.must(u.setuid(1000));
      const vfio = yield* u.must(u.openDriver('vfio'));
      const map = (bytes: number) => tell(u.vfioMapDma(vfio, { iova: 0n, address: start, bytes }));
      return [yield* map(4 * PAGE), JSON.stringify(u.pinnedPages()), yield* map(3 * PAGE)];
    });
    expect(answers).toEqual(['ENOMEM', '{"pinned":0,"locked":1,"user":0}', 'ok']);
  });
});
