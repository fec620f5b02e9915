/** What fork copies early, since a device may use the page, is told as an event. */
import { expect, it } from 'vitest';
import { timelineText } from '../../src/report/timeline-text.ts';
import { runScenario } from '../../src/userland/run-scenario.ts';
import { defineScenario } from '../../src/userland/scenario.ts';
import { architecture } from '../support/architecture.ts';

const PAGE = 4096;

it('fork tells of the page that is pinned, and of no other; devices tell how many bytes they move', () => {
  const result = runScenario(
    defineScenario({
      title: 'a pinned page and fork',
      programs: {
        *driver(u, share) {
          const at = yield* u.must(u.mmap({ bytes: 2 * PAGE, prot: 'rw', populate: true }));
          const address = at + BigInt(PAGE);
          const container = yield* u.must(u.openDriver('vfio'));
          yield* u.must(u.vfioMapDma(container, { iova: 0n, address, bytes: PAGE }));
          const child = yield* u.must(u.fork(function* () {}));
          yield* u.must(u.wait(child));
          yield* u.must(u.dmaRead(container, 0n, 8));
          share.set('page', address);
        },
      },
    }),
    { architecture },
  );
  expect(result.outcome).toEqual({ kind: 'finished' });
  const copies = result.events.filter((event) => event.kind === 'fork-copy');
  expect(copies).toMatchObject([{ address: result.variables[0]?.[1], task: 'driver' }]);
  expect(copies[0]?.frame).not.toBe(copies[0]?.copy);
  const text = timelineText(result.events, { cpus: 1, width: 200 });
  expect(text).toMatch(/may be pinned: the child gets a copy of frame 0x/);
  expect(text).toMatch(/VFIO_IOMMU_MAP_DMA, 0x[0-9a-f]+, 0x[0-9a-f]+, 0x1000\)/);
  expect(text).toMatch(/DMA read, 0x[0-9a-f]+, 8\)/);
});
