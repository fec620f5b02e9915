/**
 * When is a failed tag check reported, and has the access been made? The same two accesses, a load and a store through a
 * pointer with the wrong tag, in each mode: off, synchronous, asynchronous, asymmetric, and with PSTATE.TCO set. Then any
 * system call: asynchronous faults are reported there, before it is made.
 *
 * Asymmetric is no mode that a process can ask for: it accepts both, and the CPU prefers asymmetric checks.
 */
import { defineScenario, type Outcome, type ReportCell, type Task, type User } from 'tablewalk';
import { tagOf } from './lib/allocator.ts';
import { outcomeText } from './lib/step-log.ts';

const RIGHT = 0x3;
const WRONG = 0x5;
const BEFORE = 0x11n;
const AFTER = 0x22n;

interface Mode {
  readonly name: string;
  readonly control: 'none' | 'sync' | 'async' | 'both';
  readonly preferred?: 'async' | 'sync' | 'asymm';
  readonly override?: boolean;
}

const MODES: readonly Mode[] = [
  { name: 'off', control: 'none' },
  { name: 'synchronous', control: 'sync' },
  { name: 'asynchronous', control: 'async' },
  { name: 'asymmetric (both, CPU prefers asymm)', control: 'both', preferred: 'asymm' },
  { name: 'both, CPU prefers sync', control: 'both', preferred: 'sync' },
  { name: 'synchronous, TCO = 1', control: 'sync', override: true },
];

/** What one access in one mode came to. */
interface Seen {
  readonly mode: string;
  readonly access: 'load' | 'store';
  readonly atOnce: Outcome<unknown>;
  /** What the next system call brought besides its own result. */
  readonly later: Outcome<unknown>;
  /** The word in memory is the new one. */
  readonly stored: boolean;
}

const withTag = (pointer: bigint, tag: number): bigint => pointer | (BigInt(tag) << 56n);

function* see(u: User, mode: Mode, access: 'load' | 'store', page: bigint): Task<Seen> {
  const right = withTag(page, RIGHT);
  const wrong = withTag(page, WRONG);
  yield* u.must(u.store(right, BEFORE));
  if (mode.override) yield* u.must(u.setTagCheckOverride(true));
  const made: Task<Outcome<unknown>> = access === 'load' ? u.load(wrong) : u.store(wrong, AFTER);
  const atOnce = yield* u.attempt(made);
  if (mode.override) yield* u.must(u.setTagCheckOverride(false));
  const later = yield* u.attempt(u.taggedAddressControl());
  const stored = (yield* u.must(u.load(right))) === AFTER;
  return { mode: mode.name, access, atOnce, later, stored };
}

const line = ({ mode, access, atOnce, later, stored }: Seen): ReportCell[] => [
  mode,
  access,
  outcomeText(atOnce),
  later.ok ? 'nothing' : outcomeText(later),
  access === 'load' ? (atOnce.ok ? 'loaded' : 'no') : stored ? 'stored' : 'no',
];

const failed = (outcome: Outcome<unknown>, code: string): boolean =>
  !outcome.ok && 'code' in outcome && outcome.code === code;

function find(value: unknown, mode: string, access: 'load' | 'store'): Seen {
  const found = (value as readonly Seen[]).find((seen) => seen.mode === mode && seen.access === access);
  if (found === undefined) throw new Error(`no ${access} in mode ${mode}`);
  return found;
}

export default defineScenario({
  title: 'synchronous, asynchronous and asymmetric tag checks',
  description: 'when a failed check is reported, and whether the access was made',
  arch: 'arm64',
  programs: {
    *program(u) {
      const page = yield* u.must(u.mmap({ bytes: 4096, prot: 'rwm' }));
      yield* u.must(u.stg(withTag(page, RIGHT)));
      yield* u.check(tagOf(yield* u.must(u.ldg(page))) === RIGHT, 'STG did not take');
      const seen: Seen[] = [];
      for (const mode of MODES) {
        if (mode.preferred !== undefined) yield* u.must(u.setTagCheckPreference(mode.preferred));
        yield* u.must(u.setTaggedAddressControl({ mode: mode.control }));
        for (const access of ['load', 'store'] as const) seen.push(yield* see(u, mode, access, page));
      }
      return seen;
    },
  },
  finally: {
    'synchronous: at once, and nothing is stored': (world) => {
      const { atOnce, stored } = find(world.value('program'), 'synchronous', 'store');
      return failed(atOnce, 'SEGV_MTESERR') && !stored;
    },
    'asynchronous: with the next system call, without an address, and it is stored': (world) => {
      const { atOnce, later, stored } = find(world.value('program'), 'asynchronous', 'store');
      return (
        atOnce.ok && failed(later, 'SEGV_MTEAERR') && 'address' in later && later.address === 0n && stored
      );
    },
    'asymmetric: loads as synchronous, stores as asynchronous': (world) => {
      const name = 'asymmetric (both, CPU prefers asymm)';
      const load = find(world.value('program'), name, 'load');
      const store = find(world.value('program'), name, 'store');
      return failed(load.atOnce, 'SEGV_MTESERR') && failed(store.later, 'SEGV_MTEAERR') && store.stored;
    },
    'TCO: no check': (world) => {
      const { atOnce, later } = find(world.value('program'), 'synchronous, TCO = 1', 'store');
      return atOnce.ok && later.ok;
    },
  },
  report: (world) => [
    {
      heading: 'When is a wrong tag reported, and was the access made?',
      table: {
        columns: ['mode', 'access', 'what came at once', 'with the next system call', 'made'],
        rows: (world.value('program') as readonly Seen[]).map(line),
      },
    },
  ],
});
