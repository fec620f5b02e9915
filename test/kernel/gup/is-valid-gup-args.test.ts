import { describe, expect, it } from 'vitest';
import {
  FOLL_ANON,
  FOLL_FAST_ONLY,
  FOLL_FORCE,
  FOLL_GET,
  FOLL_LONGTERM,
  FOLL_MADV_POPULATE,
  FOLL_PCI_P2PDMA,
  FOLL_PIN,
  FOLL_REMOTE,
  FOLL_TOUCH,
  FOLL_TRIED,
  FOLL_UNLOCKABLE,
  FOLL_WRITE,
} from '../../../src/kernel/gup/foll-flags.ts';
import { INVALID_GUP_ARGS, validGupFlags } from '../../../src/kernel/gup/is-valid-gup-args.ts';
import { World } from '../support/world.ts';

const world = new World();
const caller = world.process('caller');
const pages = [0];
const held = () => ({ held: true });

describe('arguments that GUP refuses (mm/gup.c, is_valid_gup_args)', () => {
  it.each([
    ['TOUCH from outside', pages, null, FOLL_TOUCH, 0],
    ['TRIED from outside', pages, null, FOLL_TRIED, 0],
    ['REMOTE from outside', pages, null, FOLL_REMOTE, 0],
    ['PIN from outside', pages, null, FOLL_PIN, 0],
    ['FAST_ONLY from outside', pages, null, FOLL_FAST_ONLY, 0],
    ['UNLOCKABLE from outside', pages, null, FOLL_UNLOCKABLE, 0],
    ['MADV_POPULATE from outside', pages, null, FOLL_MADV_POPULATE, 0],
    ['a lock that is not held on entry', pages, { held: false }, 0, FOLL_TOUCH],
    ['GET together with PIN', pages, null, FOLL_GET, FOLL_PIN],
    ['LONGTERM without PIN', pages, null, FOLL_LONGTERM, FOLL_TOUCH],
    ['GET without pages', null, null, FOLL_GET, FOLL_TOUCH],
    ['PIN without pages', null, null, 0, FOLL_PIN],
    ['LONGTERM together with P2PDMA', pages, null, FOLL_LONGTERM | FOLL_PCI_P2PDMA, FOLL_PIN],
  ])('%s', (_name, slots, locked, flags, toSet) => {
    expect(validGupFlags(caller, slots, locked, flags, toSet)).toBe(INVALID_GUP_ARGS);
  });
});

describe('flags that GUP adds', () => {
  it.each([
    [
      'GET when pages are wanted without a pin',
      pages,
      null,
      FOLL_WRITE,
      FOLL_TOUCH,
      FOLL_WRITE | FOLL_TOUCH | FOLL_GET,
    ],
    ['no GET beside PIN', pages, null, FOLL_FORCE, FOLL_PIN, FOLL_FORCE | FOLL_PIN],
    ['no GET without pages', null, null, FOLL_WRITE, FOLL_TOUCH, FOLL_WRITE | FOLL_TOUCH],
    ['UNLOCKABLE when the lock may be dropped', pages, held(), 0, FOLL_PIN, FOLL_PIN | FOLL_UNLOCKABLE],
    ['LONGTERM stays with PIN', pages, null, FOLL_LONGTERM, FOLL_PIN, FOLL_LONGTERM | FOLL_PIN],
    ['ANON stays', pages, null, FOLL_ANON, FOLL_TOUCH, FOLL_ANON | FOLL_TOUCH | FOLL_GET],
  ])('%s', (_name, slots, locked, flags, toSet, expected) => {
    expect(validGupFlags(caller, slots, locked, flags, toSet)).toBe(expected);
  });
});

it('numbers the flags as Linux does (include/linux/mm_types.h, mm/internal.h)', () => {
  const bits = {
    FOLL_WRITE,
    FOLL_GET,
    FOLL_FORCE,
    FOLL_ANON,
    FOLL_LONGTERM,
    FOLL_TOUCH,
    FOLL_REMOTE,
    FOLL_PIN,
  };
  expect(Object.values(bits).map((flag) => Math.log2(flag))).toEqual([0, 1, 3, 7, 8, 16, 18, 19]);
});
