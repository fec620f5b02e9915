import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { PhysicalMemory } from '../../src/hardware/physical-memory.ts';
import { FRAME_TAG_BYTES, TagMemory } from '../../src/hardware/tag-memory.ts';

const MIB = 1n << 20n;
const boardWithTags = (): { memory: PhysicalMemory; tags: TagMemory } => {
  const memory = new PhysicalMemory();
  memory.addRegion(0n, 64n * MIB);
  const tags = new TagMemory();
  memory.tags = tags;
  return { memory, tags };
};

describe('tag memory', () => {
  it('has tag 0 where none was stored', () => {
    expect(new TagMemory().tag(0xfffff, 0xfffffff0 | 0)).toBe(0);
  });

  it('keeps one tag for the 16 bytes of a granule', () => {
    const tags = new TagMemory();
    tags.setTag(0, 0x1010, 9);
    expect([0x100f, 0x1010, 0x1018, 0x101f, 0x1020].map((lo) => tags.tag(0, lo))).toEqual([0, 9, 9, 9, 0]);
  });

  it('looks at four bits of a tag only', () => {
    const tags = new TagMemory();
    tags.setTag(0, 0, 0xf3);
    tags.setTag(0, 0x10, -1);
    expect([tags.tag(0, 0), tags.tag(0, 0x10), tags.tag(0, 0x20)]).toEqual([3, 15, 0]);
  });

  it('sees a chunk that is made after it was asked', () => {
    const tags = new TagMemory();
    expect(tags.tag(0, 0x40)).toBe(0);
    tags.setTag(0, 0x40, 5);
    expect(tags.tag(0, 0x40)).toBe(5);
  });

  it('returns the tag stored last, for any sequence of stores in a space of 52 bits', () => {
    const address = fc.tuple(
      fc.constantFrom(0, 1, 0xfffff),
      fc.constantFrom(0, 0x3ffff0, 0x400000, 0x80000000 | 0, 0xfffffff0 | 0),
      fc.nat(0xfff),
    );
    fc.assert(
      fc.property(fc.array(fc.tuple(address, fc.nat(15)), { maxLength: 40 }), (stores) => {
        const tags = new TagMemory();
        const model = new Map<string, number>();
        for (const [[hi, base, offset], tag] of stores) {
          const lo = base ^ offset;
          tags.setTag(hi, lo, tag);
          model.set(`${hi}:${lo >>> 4}`, tag);
        }
        for (const [[hi, base, offset]] of stores) {
          const lo = base ^ offset;
          expect(tags.tag(hi, lo)).toBe(model.get(`${hi}:${lo >>> 4}`));
        }
      }),
    );
  });
});

describe('the tags of a frame', () => {
  it('come back as 128 bytes, the lower granule in the lower half', () => {
    const tags = new TagMemory();
    for (let granule = 0; granule < 256; granule++) tags.setTag(0, 0x5000 + granule * 16, granule * 7);
    const kept = new Uint8Array(FRAME_TAG_BYTES);
    expect(tags.readFrame(5, kept)).toBe(true);
    expect([kept[0], kept[1], kept[127]]).toEqual([0x70, 0x5e, ((255 * 7) & 15) * 16 + ((254 * 7) & 15)]);
    tags.clearFrame(5);
    expect(tags.tag(0, 0x5010)).toBe(0);
    expect(tags.readFrame(5, new Uint8Array(FRAME_TAG_BYTES))).toBe(false);
    tags.writeFrame(6, kept);
    for (let granule = 0; granule < 256; granule++) {
      expect(tags.tag(0, 0x6000 + granule * 16)).toBe((granule * 7) & 15);
    }
  });

  it('are none when all of them were set back to 0', () => {
    const tags = new TagMemory();
    tags.setTag(0, 0, 4);
    tags.setTag(0, 0, 0);
    expect(tags.readFrame(0, new Uint8Array(FRAME_TAG_BYTES))).toBe(false);
  });

  it('are filled, copied and cleared without those of its neighbours', () => {
    const tags = new TagMemory();
    tags.fillFrame(1023, 13);
    tags.copyFrame(1023, 1024);
    expect([0x3fe000, 0x3ff000, 0x3ffff0, 0x400000, 0x400ff0, 0x401000].map((lo) => tags.tag(0, lo))).toEqual(
      [0, 13, 13, 13, 13, 0],
    );
    tags.copyFrame(9, 1023);
    expect([0x3ff000, 0x400000].map((lo) => tags.tag(0, lo))).toEqual([0, 13]);
    tags.fillFrame(1024, 16);
    expect(tags.tag(0, 0x400000)).toBe(0);
  });

  it.each([127, 129])('are not %d bytes', (length) => {
    const tags = new TagMemory();
    expect(() => tags.readFrame(0, new Uint8Array(length))).toThrow('the tags of a frame are 128 bytes');
    expect(() => tags.writeFrame(0, new Uint8Array(length))).toThrow('the tags of a frame are 128 bytes');
  });
});

describe('tags beside the data of physical memory', () => {
  it('stay when the data is written, zeroed, copied or released', () => {
    const { memory, tags } = boardWithTags();
    tags.fillFrame(3, 5);
    tags.fillFrame(4, 7);
    memory.write64(0, 0x3000, 1, 2);
    memory.copyFrame(3, 4);
    memory.zeroFrame(3);
    memory.releaseFrame(3);
    expect([tags.tag(0, 0x3000), tags.tag(0, 0x4000)]).toEqual([5, 7]);
  });

  it('are cleared with everything else when a board starts anew', () => {
    const { memory, tags } = boardWithTags();
    tags.fillFrame(3, 5);
    expect(tags.tag(0, 0x3000)).toBe(5);
    memory.clear();
    expect(tags.tag(0, 0x3000)).toBe(0);
    tags.setTag(0, 0x3010, 2);
    expect([tags.tag(0, 0x3000), tags.tag(0, 0x3010)]).toEqual([0, 2]);
  });

  it('are none on a board without', () => {
    expect(new PhysicalMemory().tags).toBeNull();
  });
});
