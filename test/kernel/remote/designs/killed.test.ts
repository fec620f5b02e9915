/** A reader that is to die: before each page today's code looks, and so does every design. mm/gup.c, `__get_user_pages`. */
import { describe, expect, it } from 'vitest';
import { FOLL_WRITE } from '../../../../src/kernel/gup/foll-flags.ts';
import { SIGKILL } from '../../../../src/kernel/signal.ts';
import { DesignWorld } from './support.ts';
import { TurnsWorld } from './turns.ts';

const DESIGNS = ['v0', 'v1', 'v2', 'v3', 'v4', 'v5', 'v6'] as const;
const kill = { signal: SIGKILL, code: 0, address: 0n };

describe.each(DESIGNS)('a reader that was killed, under %s', (design) => {
  it.each([
    ['reads', 0],
    ['writes', FOLL_WRITE],
  ])('%s nothing, and leaves nothing behind', (_, gupFlags) => {
    const world = new DesignWorld(design);
    world.map(world.target, 0, 2, 3);
    world.fill(0, 2);
    world.reader.sendSignal(kill);
    expect(world.read(0, 1, gupFlags)).toEqual([0]);
    expect(world.load(world.target, 0)).toBe(1);
    expect(world.leftovers()).toEqual([]);
  });

  it('stops short when the signal comes in the middle', () => {
    const world = new TurnsWorld(design);
    const { director, reader } = world;
    const pages = 40;
    world.map(world.target, 0, pages, 3);
    world.fill(0, pages);
    const buffer = new Uint8Array(pages * 4096);
    director.start(reader, world.transfer(0, buffer));
    director.until(reader, 'copy_from_user_page');
    reader.sendSignal(kill);
    expect(director.finish(reader)).toBeLessThan(buffer.length);
    expect(world.leftovers()).toEqual([]);
  });
});
