/**
 * A debugger looks into a process whose memory has tags, through every path there is. Three questions, a table each: what
 * does a tag in the remote address do? Is the debugger's own buffer checked? What becomes of the tags of what is written?
 */
import {
  defineScenario,
  type Outcome,
  type ReportCell,
  type ReportSection,
  type Task,
  type User,
} from 'tablewalk';
import { enableTagChecks } from './lib/allocator.ts';

const TARGET_TAG = 5;
const STRING_TAG = 7;
/** What PTRACE_POKEMTETAGS writes. */
const POKED_TAG = 6;
const OWN_TAG = 3;
const WRONG_TAG = 9;
const WORD = 0x1122_3344_5566_7788n;
const WRITTEN = 0xcafe_f00dn;
const NAME = new TextEncoder().encode('tagged\0');
const VARIABLE = new TextEncoder().encode('A=b\0');

const withTag = (pointer: bigint, tag: number): bigint => pointer | (BigInt(tag) << 56n);

/** Pointers to the same word, as a debugger may give them. */
const ADDRESSES: readonly { readonly name: string; readonly of: (page: bigint) => bigint }[] = [
  { name: 'no tag', of: (page) => page },
  { name: 'its tag', of: (page) => withTag(page, TARGET_TAG) },
  { name: 'a wrong tag', of: (page) => withTag(page, WRONG_TAG) },
  { name: 'bit 63', of: (page) => page | (1n << 63n) },
  { name: 'bit 55', of: (page) => page | (1n << 55n) },
];

/** One way into another process. */
interface Path {
  readonly name: string;
  /** With the debugger's data outside its address space. */
  readonly remote?: (address: bigint) => Task<Outcome<unknown>>;
  /** With the debugger's data in its own memory. */
  readonly own?: (address: bigint, buffer: bigint) => Task<Outcome<unknown>>;
  readonly writes: boolean;
}

const word = (value: bigint): Uint8Array => new Uint8Array(new BigUint64Array([value]).buffer);

function paths(u: User, pid: number, handle: number): readonly Path[] {
  const bytes = 8;
  return [
    {
      name: 'process_vm_readv',
      remote: (address) => u.processVmReadv(pid, [{ address, bytes }]),
      own: (address, buffer) => u.processVmReadv(pid, [{ address, bytes }], [{ address: buffer, bytes }]),
      writes: false,
    },
    {
      name: 'process_vm_writev',
      remote: (address) => u.processVmWritev(pid, [{ address, bytes }], word(WRITTEN)),
      own: (address, buffer) => u.processVmWritev(pid, [{ address, bytes }], [{ address: buffer, bytes }]),
      writes: true,
    },
    {
      name: 'pread of /proc/PID/mem',
      remote: (address) => u.procMemRead(handle, address, bytes),
      own: (address, buffer) => u.procMemReadInto(handle, address, bytes, buffer),
      writes: false,
    },
    {
      name: 'pwrite of /proc/PID/mem',
      remote: (address) => u.procMemWrite(handle, address, word(WRITTEN)),
      own: (address, buffer) => u.procMemWriteFrom(handle, address, bytes, buffer),
      writes: true,
    },
    {
      name: 'PTRACE_PEEKDATA',
      remote: (address) => u.peek(pid, address),
      own: (address, buffer) => u.peekInto(pid, address, buffer),
      writes: false,
    },
    { name: 'PTRACE_POKEDATA', remote: (address) => u.poke(pid, address, WRITTEN), writes: true },
    {
      name: 'PTRACE_PEEKMTETAGS',
      remote: (address) => u.peekTags(pid, address, 1),
      own: (address, buffer) => u.peekTagsInto(pid, address, 1, buffer),
      writes: false,
    },
    {
      name: 'PTRACE_POKEMTETAGS',
      remote: (address) => u.pokeTags(pid, address, Uint8Array.of(POKED_TAG)),
      own: (address, buffer) => u.pokeTagsFrom(pid, address, 1, buffer),
      writes: true,
    },
    {
      name: 'read of /proc/PID/cmdline',
      own: (_address, buffer) => u.procCmdlineInto(pid, NAME.length, buffer),
      writes: false,
    },
    {
      name: 'read of /proc/PID/environ',
      own: (_address, buffer) => u.procEnvironInto(pid, VARIABLE.length, buffer),
      writes: false,
    },
  ];
}

/** What the debugger has found. */
interface Findings {
  /** By path: what came of each of `ADDRESSES`. */
  readonly remote: readonly { readonly path: string; readonly came: readonly string[] }[];
  /**
   * By path: its own buffer with the right tag, with the wrong one in sync, async and asymmetric mode, and with the right
   * one without the tagged-address ABI. `reads`: the kernel reads the buffer.
   */
  readonly own: readonly {
    readonly path: string;
    readonly came: readonly string[];
    readonly reads: boolean;
  }[];
  /** By path that writes: the data then, and the tag. */
  readonly kept: readonly { readonly path: string; readonly data: bigint; readonly tag: number }[];
}

const cameText = (outcome: Outcome<unknown>): string =>
  outcome.ok ? 'done' : 'errno' in outcome ? outcome.errno : `${outcome.signal} ${outcome.code}`;

function* remoteAddresses(all: readonly Path[], page: bigint): Task<Findings['remote']> {
  const found: { path: string; came: string[] }[] = [];
  for (const { name, remote } of all) {
    if (remote === undefined) continue;
    const came: string[] = [];
    for (const { of } of ADDRESSES) came.push(cameText(yield* remote(of(page))));
    found.push({ path: name, came });
  }
  return found;
}

/** The paths that read the debugger's own buffer; the others write to it. */
const READS: ReadonlySet<string> = new Set([
  'process_vm_writev',
  'pwrite of /proc/PID/mem',
  'PTRACE_POKEMTETAGS',
]);

function* ownBuffers(u: User, all: readonly Path[], page: bigint): Task<Findings['own']> {
  const buffer = yield* u.must(u.mmap({ bytes: 4096, prot: 'rwm' }));
  yield* u.must(u.stg(withTag(buffer, OWN_TAG)));
  const found: { path: string; came: string[]; reads: boolean }[] = [];
  for (const { name, own } of all) {
    if (own === undefined) continue;
    const right = yield* own(page, withTag(buffer, OWN_TAG));
    const wrong = yield* own(page, withTag(buffer, WRONG_TAG));
    yield* enableTagChecks(u, 'async');
    const later = yield* own(page, withTag(buffer, WRONG_TAG));
    yield* u.must(u.setTagCheckPreference('asymm'));
    yield* enableTagChecks(u, 'both');
    const mixed = yield* own(page, withTag(buffer, WRONG_TAG));
    yield* u.must(u.setTaggedAddressControl({ enable: false, mode: 'sync', tags: 0xfffe }));
    const refused = yield* own(page, withTag(buffer, OWN_TAG));
    yield* u.must(u.setTagCheckPreference('async'));
    yield* enableTagChecks(u, 'sync');
    found.push({
      path: name,
      came: [right, wrong, later, mixed, refused].map(cameText),
      reads: READS.has(name),
    });
  }
  return found;
}

function* tagsKept(u: User, pid: number, all: readonly Path[], page: bigint): Task<Findings['kept']> {
  const found: { path: string; data: bigint; tag: number }[] = [];
  for (const { name, remote, writes } of all) {
    if (!writes || remote === undefined) continue;
    yield* u.must(u.poke(pid, page, WORD));
    yield* u.must(u.pokeTags(pid, page, Uint8Array.of(TARGET_TAG)));
    yield* u.must(remote(page));
    const data = yield* u.must(u.peek(pid, page));
    const [tag = -1] = yield* u.must(u.peekTags(pid, page, 1));
    found.push({ path: name, data, tag });
  }
  yield* u.must(u.pokeTags(pid, page, Uint8Array.of(TARGET_TAG)));
  return found;
}

const findings = (value: unknown): Findings => value as Findings;

/** What a path makes of tag bits in the address that it is given. */
function verdict(came: readonly string[]): string {
  const tagged = came.slice(1, 3);
  if (tagged.every((text) => text === 'done')) return 'stripped, not checked';
  return tagged.every((text) => text !== 'done') ? 'refused' : 'checked';
}

function report({ remote, own, kept }: Findings): ReportSection[] {
  const rows = (list: Findings['remote'], last: (came: readonly string[]) => string): ReportCell[][] =>
    list.map(({ path, came }) => [path, ...came, last(came)]);
  return [
    {
      heading: 'What does a tag in the remote address do?',
      table: {
        columns: ['path', ...ADDRESSES.map(({ name }) => name), 'tags of the address'],
        rows: rows(remote, verdict),
      },
      notes: [
        'The address of /proc/PID/mem is a file offset: bit 63 makes it negative. cmdline takes no address.',
        'Bit 55 is no tag bit: it says which half of the address space is meant.',
      ],
    },
    {
      heading: "Is the debugger's own buffer checked?",
      table: {
        columns: [
          'path',
          'right tag',
          'wrong tag, sync',
          'wrong tag, async',
          'wrong tag, asymm',
          'right tag, ABI off',
          'own buffer',
        ],
        rows: rows(own, ([, wrong]) => (wrong === 'done' ? 'not checked' : 'checked')),
      },
      notes: [
        'The copy is made with the rights and the mode of the debugger; async faults in it raise no signal.',
        'Asymmetric mode checks reads at once: where the kernel reads the buffer the call fails.',
        'Without the tagged-address ABI (PR_TAGGED_ADDR_ENABLE) a pointer with a tag is refused before any access.',
      ],
    },
    {
      heading: 'What becomes of the tags of memory that is written?',
      table: {
        columns: ['path', 'data then', 'tag before', 'tag then'],
        rows: kept.map(({ path, data, tag }) => [path, data, TARGET_TAG, tag]),
      },
    },
  ];
}

export default defineScenario({
  title: 'a debugger and memory tags',
  description: 'which paths into another process check tags, which strip them, which refuse them',
  arch: 'arm64',
  cpus: 2,
  placement: { target: 0, debugger: 1 },
  timeline: false,
  programs: {
    *target(u, share) {
      yield* enableTagChecks(u, 'sync');
      const page = yield* u.must(u.mmap({ bytes: 4096, prot: 'rwm' }));
      const data = withTag(page, TARGET_TAG);
      const string = withTag(page + 16n, STRING_TAG);
      yield* u.must(u.stg(data));
      yield* u.must(u.stg(string));
      yield* u.must(u.store(data, WORD));
      for (const [at, byte] of [...NAME, ...VARIABLE].entries()) {
        yield* u.must(u.store(string + BigInt(at), BigInt(byte), 1));
      }
      yield* u.must(u.setArguments(page + 16n, NAME.length, VARIABLE.length));
      share.set('page', page);
      yield* share.wait('done');
      // Through its own tags it reads what the debugger wrote.
      share.set('target reads', yield* u.must(u.load(data)));
    },
    *debugger(u, share) {
      yield* enableTagChecks(u, 'sync');
      const page = yield* share.waitWord('page');
      const pid = u.pidOf('target');
      const handle = yield* u.must(u.procMemOpen(pid));
      yield* u.must(u.ptraceAttach(pid));
      const all = paths(u, pid, handle);
      const remote = yield* remoteAddresses(all, page);
      const own = yield* ownBuffers(u, all, page);
      const kept = yield* tagsKept(u, pid, all, page);
      yield* u.must(u.poke(pid, page, WRITTEN));
      yield* u.must(u.ptraceDetach(pid));
      share.set('done', true);
      return { remote, own, kept } satisfies Findings;
    },
  },
  finally: {
    'no path checks the tags of the remote memory': (world) =>
      findings(world.value('debugger')).remote.every(({ came }) => verdict(came) !== 'checked'),
    "every copy checks the debugger's own buffer": (world) =>
      findings(world.value('debugger')).own.every(
        ({ came: [right, wrong, later, mixed, refused], reads }) => {
          const checked = right === 'done' && wrong === 'EFAULT' && later === 'done';
          return checked && mixed === (reads ? 'EFAULT' : 'done') && refused === 'EFAULT';
        },
      ),
    'only PTRACE_POKEMTETAGS changes tags, and no data; every other write leaves them as they are': (world) =>
      findings(world.value('debugger')).kept.every(({ path, data, tag }) => {
        const pokesTags = path === 'PTRACE_POKEMTETAGS';
        return tag === (pokesTags ? POKED_TAG : TARGET_TAG) && data === (pokesTags ? WORD : WRITTEN);
      }),
    'the target goes on with its own tags': (world) => world.share.get('target reads') === WRITTEN,
  },
  report: (world) => report(findings(world.value('debugger'))),
});
