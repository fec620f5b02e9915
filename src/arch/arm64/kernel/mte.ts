/**
 * Linux's view of memory tags on arm64: whole pages of them through the linear map, single ones for debuggers.
 * @see Linux arch/arm64/kernel/mte.c; arch/arm64/lib/mte.S
 */
import { TAG_GRANULE, type TagMemory } from '../../../hardware/tag-memory.ts';
import { ENTRY_MEMORY_TYPE_SHIFT, EntryFlag } from '../../paging-format.ts';
import type { MemoryTags, TagCheckMode, ThreadState } from '../../thread-state.ts';
import { MemoryTypeIndex } from './entry-layout.ts';
import { VMH_MTE } from './mman.ts';
import type { ThreadSwitch } from './thread-switch.ts';

const TAG_LIMIT = 16;
const FRAME_BYTES = 4096;
const { Present, User, Protnone, Special } = EntryFlag;
const MEMORY_TYPE_MASK = 7 << ENTRY_MEMORY_TYPE_SHIFT;
const NORMAL_TAGGED = MemoryTypeIndex.NormalTagged << ENTRY_MEMORY_TYPE_SHIFT;

export class MteTags implements MemoryTags {
  readonly granuleBytes = TAG_GRANULE;
  readonly tagLimit = TAG_LIMIT;
  readonly vmFlagHigh = VMH_MTE;
  readonly #tags: TagMemory;
  readonly #threads: ThreadSwitch;

  constructor(tags: TagMemory, threads: ThreadSwitch) {
    this.#tags = tags;
    this.#threads = threads;
  }

  /** A valid leaf that EL0 may access, of tagged memory; the zero page is special and was set up at boot. */
  exposesTags(entryFlags: number): boolean {
    const deciding = Present | User | Protnone | Special | MEMORY_TYPE_MASK;
    return (entryFlags & deciding) === (Present | User | NORMAL_TAGGED);
  }

  clearFrame(frame: number): void {
    this.#tags.clearFrame(frame);
  }

  copyFrame(from: number, to: number): void {
    this.#tags.copyFrame(from, to);
  }

  readTag(frame: number, granule: number): number {
    return this.#tags.tag(addressHi(frame), addressLo(frame, granule));
  }

  writeTag(frame: number, granule: number, tag: number): void {
    this.#tags.setTag(addressHi(frame), addressLo(frame, granule), tag);
  }

  setPreferredMode(cpu: number, mode: TagCheckMode): boolean {
    return this.#threads.setPreferred(cpu, mode);
  }

  preferredMode(cpu: number): TagCheckMode {
    return this.#threads.preferred(cpu);
  }

  setTagCheckOverride(cpu: number, on: boolean): void {
    this.#threads.setTagCheckOverride(cpu, on);
  }

  takeAsynchronousFault(thread: ThreadState): boolean {
    return this.#threads.takeAsynchronousFault(thread);
  }
}

const addressHi = (frame: number): number => Math.floor(frame / 0x10_0000) | 0;
const addressLo = (frame: number, granule: number): number =>
  ((frame % 0x10_0000) * FRAME_BYTES + granule * TAG_GRANULE) | 0;
