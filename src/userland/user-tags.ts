/**
 * The part of `User` that needs memory tags (arm64 MTE): tag instructions, tag checks, tags of other processes. On a
 * machine without, each of these calls is a mistake of the program and ends the run with an `InputError`.
 * A pointer's logical tag is in its bits 59:56.
 */
import type { Task } from '../base/task.ts';
import type { ProcessContext } from './calls/process-context.ts';
import * as tags from './calls/tags.ts';
import type { Outcome } from './outcome.ts';
import type { Word } from './units.ts';

/** The word of prctl(PR_SET_TAGGED_ADDR_CTRL) in parts. */
export interface TaggedAddressControl {
  /** PR_TAGGED_ADDR_ENABLE: system calls take tagged pointers to data. Default true. */
  readonly enable?: boolean;
  /**
   * PR_MTE_TCF_SYNC, PR_MTE_TCF_ASYNC, or both, which leaves the choice to the CPU's preference (asynchronous, unless
   * changed). Default `none`: failed checks are ignored.
   */
  readonly mode?: 'none' | 'sync' | 'async' | 'both';
  /** The tags that `irg` may give, a bit each: 0xfffe is every tag but 0. Default 0: it gives none but 0. */
  readonly tags?: number;
}

export class TagUser {
  readonly #context: ProcessContext;

  constructor(context: ProcessContext) {
    this.#context = context;
  }

  /**
   * PR_SET_TAGGED_ADDR_CTRL: which tag checks there are, and which tags `irg` gives.
   * @errors EINVAL. @see prctl(2); Linux Documentation/arch/arm64/memory-tagging-extension.rst
   */
  setTaggedAddressControl(control: TaggedAddressControl): Task<Outcome<void>> {
    return this.#context.made(
      'setTaggedAddressControl',
      tags.setTaggedAddressControl(this.#context, control),
    );
  }

  /** PR_GET_TAGGED_ADDR_CTRL. */
  taggedAddressControl(): Task<Outcome<Required<TaggedAddressControl>>> {
    return this.#context.made('taggedAddressControl', tags.taggedAddressControl(this.#context));
  }

  /**
   * Writes /sys/devices/system/cpu/cpuN/mte_tcf_preferred of this process' CPU: what the mode `both` means there.
   * It counts from the next `setTaggedAddressControl` or task switch on.
   * @errors EINVAL (the CPU has no such mode)
   * @see Linux Documentation/arch/arm64/memory-tagging-extension.rst
   */
  setTagCheckPreference(mode: 'async' | 'sync' | 'asymm'): Task<Outcome<void>> {
    return this.#context.made('setTagCheckPreference', tags.setTagCheckPreference(this.#context, mode));
  }

  /** MSR TCO: while it is on, the program's own accesses are not checked. */
  setTagCheckOverride(on: boolean): Task<Outcome<void>> {
    return this.#context.made('setTagCheckOverride', tags.setTagCheckOverride(this.#context, on));
  }

  /** IRG: the address with a random tag. @param exclude tags it must not be, a bit each, besides those of the process */
  irg(address: bigint, exclude = 0): Task<Outcome<bigint>> {
    return this.#context.made('irg', tags.irg(this.#context, address, exclude));
  }

  /**
   * ADDG: the address plus `bytes`, with a tag `tagOffset` allowed tags further.
   * @param bytes a multiple of 16, at most 1008. @param tagOffset 0 to 15
   */
  addg(address: bigint, bytes: number, tagOffset: number): Task<Outcome<bigint>> {
    return this.#context.made('addg', tags.moveTag(this.#context, 'addg', address, bytes, tagOffset));
  }

  /** SUBG: as `addg`, with `bytes` taken away; the tag moves up all the same. */
  subg(address: bigint, bytes: number, tagOffset: number): Task<Outcome<bigint>> {
    return this.#context.made('subg', tags.moveTag(this.#context, 'subg', address, bytes, tagOffset));
  }

  /** SUBP: the address less another one, both without their tags, as a word of 64 bits. */
  subp(address: bigint, other: bigint): Task<Outcome<bigint>> {
    return this.#context.made('subp', tags.subp(this.#context, address, other));
  }

  /** GMI: the mask with the bit of the address' tag set, to exclude it from `irg`. */
  gmi(address: bigint, mask: Word): Task<Outcome<bigint>> {
    return this.#context.made('gmi', tags.gmi(this.#context, address, mask));
  }

  /** LDG: the address with the tag of the memory there (0 where memory has none). @signals SIGSEGV, SIGBUS */
  ldg(address: bigint): Task<Outcome<bigint>> {
    return this.#context.made('ldg', tags.ldg(this.#context, address));
  }

  /**
   * STG: gives 16 bytes of memory the tag of `from`, the address itself by default. Memory without tags ignores it.
   * @signals SIGSEGV, SIGBUS (BUS_ADRALN: the address is no multiple of 16)
   */
  stg(address: bigint, from = address): Task<Outcome<void>> {
    return this.#context.made('stg', tags.storeTag(this.#context, 'stg', address, from));
  }

  /** ST2G: as `stg`, 32 bytes. */
  st2g(address: bigint, from = address): Task<Outcome<void>> {
    return this.#context.made('st2g', tags.storeTag(this.#context, 'st2g', address, from));
  }

  /** STZG: as `stg`, and zeroes the bytes. */
  stzg(address: bigint, from = address): Task<Outcome<void>> {
    return this.#context.made('stzg', tags.storeTag(this.#context, 'stzg', address, from));
  }

  /** STZ2G: as `st2g`, and zeroes the bytes. */
  stz2g(address: bigint, from = address): Task<Outcome<void>> {
    return this.#context.made('stz2g', tags.storeTag(this.#context, 'stz2g', address, from));
  }

  /** STGP: stores two words of 8 bytes and gives them the tag of the address. */
  stgp(address: bigint, first: Word, second: Word): Task<Outcome<void>> {
    return this.#context.made('stgp', tags.stgp(this.#context, address, first, second));
  }

  /** DC ZVA: zeroes the block of DCZID_EL0.BS around the address, with a tag check of all of it. */
  dcZva(address: bigint): Task<Outcome<void>> {
    return this.#context.made('dcZva', tags.block(this.#context, 'dcZva', address));
  }

  /** DC GVA: gives the block the tag of the address. */
  dcGva(address: bigint): Task<Outcome<void>> {
    return this.#context.made('dcGva', tags.block(this.#context, 'dcGva', address));
  }

  /** DC GZVA: as `dcGva`, and zeroes it. */
  dcGzva(address: bigint): Task<Outcome<void>> {
    return this.#context.made('dcGzva', tags.block(this.#context, 'dcGzva', address));
  }

  /**
   * PTRACE_PEEKMTETAGS: the tags of a stopped tracee, one byte for each 16; maybe fewer than asked for.
   * @errors ESRCH (not its tracer), EIO (no tags there), EFAULT (0 tags)
   */
  peekTags(pid: number, address: bigint, granules: number): Task<Outcome<Uint8Array>> {
    return this.#context.made('peekTags', tags.peekTags(this.#context, pid, address, granules));
  }

  /** PTRACE_POKEMTETAGS: how many were written. @errors ESRCH, EIO, EFAULT */
  pokeTags(pid: number, address: bigint, values: Uint8Array): Task<Outcome<number>> {
    return this.#context.made('pokeTags', tags.pokeTags(this.#context, pid, address, values));
  }

  /** As `peekTags`, into memory of this process at `target`: how many arrived. */
  peekTagsInto(pid: number, address: bigint, granules: number, target: bigint): Task<Outcome<number>> {
    const call = tags.moveTagsAt(this.#context, 'peekTagsInto', pid, address, granules, target);
    return this.#context.made('peekTagsInto', call);
  }

  /** As `pokeTags`, from memory of this process at `source`. */
  pokeTagsFrom(pid: number, address: bigint, granules: number, source: bigint): Task<Outcome<number>> {
    const call = tags.moveTagsAt(this.#context, 'pokeTagsFrom', pid, address, granules, source);
    return this.#context.made('pokeTagsFrom', call);
  }
}
