/**
 * Merges as pictures. A column is a page, a letter is one VMA object: upper case is read-write, lower case read-only.
 * `*` is a new read-write mapping, `+` a range that mprotect makes read-write. The result shows which object covers
 * which page, so that it says who absorbed whom. The second line gives anon_vmas: a digit each, `.` for none, `f` for
 * the anon_vma of a fork child (one chain entry more than its own).
 * @see Linux tools/testing/vma/tests/merge.c, whose pictures these are, and mm/vma.c
 */
import { describe, expect, it } from 'vitest';
import { mmapWriteLock, mmapWriteUnlock } from '../../../src/kernel/lock/mmap-lock.ts';
import {
  type AnonVma,
  AnonVma as AnonVmaClass,
  anonVmaChainLink,
  attachAnonVma,
  attachNewAnonVma,
} from '../../../src/kernel/mm/anon-vma.ts';
import { mmapRegion } from '../../../src/kernel/mm/mmap-region.ts';
import { VmArea, type VmOperations } from '../../../src/kernel/mm/vma.ts';
import {
  VM_ACCOUNT,
  VM_DATA_DEFAULT_FLAGS,
  VM_DONTEXPAND,
  VM_MAYBE_GUARD,
  VM_WRITE,
} from '../../../src/kernel/mm/vma-flags.ts';
import { vmaInitWriteLocked, vmaMarkAttached, vmaStartWrite } from '../../../src/kernel/mm/vma-lock.ts';
import { vmaModify } from '../../../src/kernel/mm/vma-split.ts';
import { finish, type VmaWorld, vmaWorld } from './support.ts';

const BASE = 0x1_0000_0000;
const RW = VM_DATA_DEFAULT_FLAGS | VM_ACCOUNT;
const RO = (VM_DATA_DEFAULT_FLAGS & ~VM_WRITE) | VM_ACCOUNT;

interface Extra {
  /** Letters (upper case) whose pages do not continue those of the VMA before. */
  readonly otherOffset?: string;
  /** Letters whose operations have a close hook. */
  readonly close?: string;
  /** Letters with more flags. */
  readonly flags?: Readonly<Record<string, number>>;
}

const closing: VmOperations = { name: 'closing', hasClose: true, hasMapPages: false };

interface Drawing {
  readonly world: VmaWorld;
  readonly letters: Map<VmArea, string>;
}

function runsOf(picture: string): { letter: string; start: number; end: number }[] {
  const found = [...picture.matchAll(/(\S)\1*/g)];
  return found.map((m) => ({ letter: m[1] as string, start: m.index, end: m.index + m[0].length }));
}

function giveAnonVma(vma: VmArea, mark: string, known: Map<string, AnonVma>): void {
  if (mark === '.' || mark === ' ') return;
  const old = known.get(mark);
  if (old !== undefined) attachAnonVma(vma, old);
  else known.set(mark, attachNewAnonVma(vma, known.size + 1));
  if (mark === 'f') anonVmaChainLink(vma, new AnonVmaClass(99, null));
}

function parse(picture: string, anon: string, extra: Extra): Drawing {
  const world = vmaWorld();
  const letters = new Map<VmArea, string>();
  const anonVmas = new Map<string, AnonVma>();
  finish(mmapWriteLock(world.task, world.mm));
  for (const { letter, start, end } of runsOf(picture)) {
    const name = letter.toUpperCase();
    const flags = (letter === name ? RW : RO) | (extra.flags?.[name] ?? 0);
    const moved = extra.otherOffset?.includes(name) === true ? 1000 : 0;
    const vma = new VmArea(world.mm, BASE + start, BASE + end, flags, 0, BASE + start + moved);
    if (extra.close?.includes(name) === true) vma.ops = closing;
    giveAnonVma(vma, anon[start] ?? ' ', anonVmas);
    world.mm.vmas.insert(vma);
    vmaInitWriteLocked(world.mm, vma);
    vmaMarkAttached(vma);
    world.mm.mapCount++;
    letters.set(vma, name);
  }
  finish(mmapWriteUnlock(world.task, world.mm));
  return { world, letters };
}

function draw({ world, letters }: Drawing, width: number): string {
  const cells = Array.from({ length: width }, () => ' ');
  for (const vma of world.mm.vmas) {
    const name = letters.get(vma) ?? 'N';
    const letter = (vma.flags & VM_WRITE) !== 0 ? name : name.toLowerCase();
    cells.fill(letter, vma.start - BASE, vma.end - BASE);
  }
  return cells.join('').trimEnd();
}

/** Structure that must hold whatever was done. */
function checkSound({ world }: Drawing): void {
  const vmas = [...world.mm.vmas];
  expect(world.mm.mapCount).toBe(vmas.length);
  for (const vma of vmas) {
    expect(vma.detached).toBe(false);
    if (vma.anonVma !== null) expect(vma.anonVmaChain.map(({ anonVma }) => anonVma)).toContain(vma.anonVma);
  }
}

function mapInto(before: string, anon: string, added: string, extra: Extra = {}): string {
  const drawing = parse(before, anon, extra);
  const { task, mm } = drawing.world;
  const [range] = runsOf(added);
  if (range === undefined) throw new Error('nothing is added');
  const [start, end] = [BASE + range.start, BASE + range.end];
  finish(mmapWriteLock(task, mm));
  const mapping = { start, end, flags: RW & ~VM_ACCOUNT, flagsHigh: 0, pgoff: start, file: null };
  expect(finish(mmapRegion(task, mm, mapping))).toBe(0);
  finish(mmapWriteUnlock(task, mm));
  checkSound(drawing);
  return draw(drawing, Math.max(before.length, added.length));
}

function protect(before: string, anon: string, changed: string, extra: Extra = {}): string {
  const drawing = parse(before, anon, extra);
  const { task, mm } = drawing.world;
  const [range] = runsOf(changed);
  if (range === undefined) throw new Error('nothing is changed');
  const [start, end] = [BASE + range.start, BASE + range.end];
  const vma = mm.vmas.lookup(start) as VmArea;
  finish(mmapWriteLock(task, mm));
  const prev = start > vma.start ? vma : mm.vmas.findPrevious(vma.start);
  const flags = RW | (extra.flags?.[drawing.letters.get(vma) as string] ?? 0);
  const modified = finish(vmaModify(task, mm, prev, vma, start, end, { flags, flagsHigh: 0 }));
  finish(vmaStartWrite(task, mm, modified.vma));
  if (!modified.merged) modified.vma.flags = flags;
  finish(mmapWriteUnlock(task, mm));
  checkSound(drawing);
  return draw(drawing, before.length);
}

describe('a new mapping', () => {
  it.each([
    // before, anon_vmas, new, after, why
    ['AA  BB', '      ', '  **  ', 'AAAAAA', 'fills a gap: the left one takes all, the right one goes'],
    ['AA   BB', '       ', '  **   ', 'AAAA BB', 'touches only the left one'],
    ['AA   BB', '       ', '   **  ', 'AA BBBB', 'touches only the right one, which grows down'],
    ['AA    BB', '        ', '   **   ', 'AA NN BB', 'touches nothing'],
    ['aa  BB', '      ', '  **  ', 'aaBBBB', 'the left one has other rights'],
    ['AA  bb', '      ', '  **  ', 'AAAAbb', 'the right one has other rights'],
    ['aa  bb', '      ', '  **  ', 'aaNNbb', 'both have other rights'],
    ['AA  BB', '11  ..', '  **  ', 'AAAAAA', 'one anon_vma on the left'],
    ['AA  BB', '..  11', '  **  ', 'AAAAAA', 'one anon_vma on the right: the left one takes it over'],
    ['AA  BB', '11  11', '  **  ', 'AAAAAA', 'the same anon_vma on both sides'],
    ['AA  BB', '11  22', '  **  ', 'AAAABB', 'two different anon_vmas: only the left one [d044]'],
    ['AA  BB', 'ff  ..', '  **  ', 'AABBBB', 'a fork child on the left does not take pages without anon_vma'],
    ['AA  BB', 'ff  ff', '  **  ', 'AANNBB', 'fork children on both sides'],
    [
      'AAAAAA',
      '      ',
      '  **  ',
      'NNNNNN',
      'over the middle of a like one: the lower part, split off, takes all',
    ],
    ['AABBBB', '      ', '  **  ', 'AAAAAA', 'over the start of the right one, the rest of which goes too'],
    ['aabbbb', '      ', '  **  ', 'aaNNnn', 'over the start of one with other rights'],
    ['aaBBcc', '      ', '  **  ', 'aaNNcc', 'exactly over one'],
  ])('%s (anon_vmas %s) with %s gives %s: %s', (before, anon, added, after) => {
    expect(mapInto(before, anon, added)).toBe(after);
  });
});

describe('a new mapping beside VMAs that are alike but for one thing', () => {
  it('does not join a VMA whose offset does not continue it', () => {
    expect(mapInto('AA  BB', '      ', '  **  ', { otherOffset: 'A' })).toBe('AABBBB');
    expect(mapInto('AA  BB', '      ', '  **  ', { otherOffset: 'AB' })).toBe('AANNBB');
  });

  it('does not unlink a VMA whose end its driver wants to hear of', () => {
    expect(mapInto('AA  BB', '      ', '  **  ', { close: 'B' })).toBe('AAAABB');
  });

  it('is not kept apart by the sticky guard flag, which the result has', () => {
    const drawing = parse('AA', '  ', { flags: { A: VM_MAYBE_GUARD } });
    const { task, mm } = drawing.world;
    finish(mmapWriteLock(task, mm));
    const [start, end] = [BASE + 2, BASE + 4];
    finish(
      mmapRegion(task, mm, { start, end, flags: RW & ~VM_ACCOUNT, flagsHigh: 0, pgoff: start, file: null }),
    );
    finish(mmapWriteUnlock(task, mm));
    expect(draw(drawing, 4)).toBe('AAAA');
    expect([...mm.vmas].map((vma) => vma.flags & VM_MAYBE_GUARD)).toEqual([VM_MAYBE_GUARD]);
  });

  it('takes over the anon_vma of the VMA it deletes, with its chain', () => {
    const drawing = parse('AA  BB', '..  11', {});
    const { task, mm } = drawing.world;
    const anonVma = mm.vmas.lookup(BASE + 4)?.anonVma;
    finish(mmapWriteLock(task, mm));
    const [start, end] = [BASE + 2, BASE + 4];
    finish(
      mmapRegion(task, mm, { start, end, flags: RW & ~VM_ACCOUNT, flagsHigh: 0, pgoff: start, file: null }),
    );
    finish(mmapWriteUnlock(task, mm));
    const merged = mm.vmas.lookup(BASE) as VmArea;
    expect(merged.anonVma).toBe(anonVma);
    expect(anonVma?.numActiveVmas).toBe(1);
    expect([...(anonVma?.chains ?? [])].map(({ vma }) => vma)).toEqual([merged]);
  });
});

describe('a range whose rights change', () => {
  it.each([
    // before, anon_vmas, range made read-write, after, why
    ['AAbbCC', '      ', '  ++  ', 'AAAAAA', 'all of the middle, both fit: the left one takes all'],
    ['AAbbcc', '      ', '  ++  ', 'AAAAcc', 'all of the middle, left fits'],
    ['aabbCC', '      ', '  ++  ', 'aaCCCC', 'all of the middle, right fits: it grows down'],
    ['aabbcc', '      ', '  ++  ', 'aaBBcc', 'all of the middle, nobody fits'],
    ['AAbbbCC', '       ', '  +    ', 'AAAbbCC', 'the left edge: the left one grows'],
    ['AAbbbCC', '       ', '    +  ', 'AAbbCCC', 'the right edge: the right one grows down'],
    ['AAbbbCC', '       ', '   +   ', 'AAnBnCC', 'the inside: two splits'],
    ['aabbbcc', '       ', '  +    ', 'aaBnncc', 'the left edge, nobody fits: one split'],
    ['aabbbcc', '       ', '    +  ', 'aannBcc', 'the right edge, nobody fits: one split'],
    ['AAbbCC', '112211', '  ++  ', 'AABBCC', 'an anon_vma of its own between two others [d046]'],
    ['AAbbCC', '11..11', '  ++  ', 'AAAAAA', 'no anon_vma between two parts of one'],
    ['AAbbCC', '11..22', '  ++  ', 'AAAACC', 'no anon_vma between two different ones'],
    ['AAbbCC', '..11..', '  ++  ', 'AAAAAA', 'only the middle has an anon_vma: the left one takes it over'],
    ['AAbbCC', '..ff..', '  ++  ', 'AABBCC', 'the middle is a fork child and lends its anon_vma to nobody'],
    ['AAbbCC', 'ff....', '  ++  ', 'AACCCC', 'the left one is a fork child'],
  ])('%s (anon_vmas %s) with %s made read-write gives %s: %s', (before, anon, changed, after) => {
    expect(protect(before, anon, changed)).toBe(after);
  });

  it('keeps a spanned VMA with a close hook, and gives a kept one to the left only', () => {
    expect(protect('AAbbCC', '      ', '  ++  ', { close: 'B' })).toBe('AABBCC');
    expect(protect('AAbbCC', '      ', '  ++  ', { close: 'C' })).toBe('AAAACC');
  });

  it('never merges special mappings', () => {
    const flags = { A: VM_DONTEXPAND, B: VM_DONTEXPAND, C: VM_DONTEXPAND };
    expect(protect('AAbbCC', '      ', '  ++  ', { flags })).toBe('AABBCC');
  });
});
