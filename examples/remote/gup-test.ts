/**
 * What the kernel's own gup_test does, with the options of its program: which test (`-u` `-a` `-L` `-U` `-b` `-c`), how much
 * memory (`-m`, MiB), of a file (`-f`) or not, how many pages each call (`-n`), how often (`-r`) and by how many threads at a time
 * (`-j`), to write or not (`-w`, `-W`), with huge pages (`-t`) or without (`-T`), of a pool of huge pages (`-H`), shared (`-S`).
 * Each line of the table is a run of it. Times are virtual cycles, where the program prints microseconds.
 *
 *     npx tablewalk run examples/remote/gup-test.ts --profile sapphire-rapids
 *
 * @see Linux tools/testing/selftests/mm/gup_test.c, mm/gup_test.c
 */
import { defineScenario, type Task, type User, type WorldView } from 'tablewalk';

const PAGE = 4096;
const MIB = 0x10_0000;

/** Options of the program that choose a test. */
const COMMANDS = {
  u: 'GUP_FAST_BENCHMARK',
  a: 'PIN_FAST_BENCHMARK',
  L: 'PIN_LONGTERM_BENCHMARK',
  U: 'GUP_BASIC_TEST',
  b: 'PIN_BASIC_TEST',
  c: 'DUMP_USER_PAGES_TEST',
} as const;

/** The command lines; numbers after `-c` are pages to show. */
const RUNS = [
  '-u -m 2 -n 1 -W',
  '-u -m 2 -n 512 -W',
  '-u -m 2 -n 123 -w',
  '-u -m 4 -n 512 -t -w',
  '-U -m 2 -n 512 -w',
  '-a -m 2 -n 1 -w',
  '-a -m 2 -n 512 -r 3 -w',
  '-a -m 2 -n 512 -j 2 -w',
  '-a -m 4 -n 1024 -t -w',
  '-a -m 4 -n 512 -H -w',
  '-a -m 2 -n 512 -S -w',
  '-a -m 2 -n 512 -f memfd -W',
  '-b -m 2 -n 512 -w',
  '-L -m 2 -n 512 -w',
  '-L -m 4 -n 1024 -t -w',
  '-c -m 2 -n 512 -w 0 18 4096',
  '-c -p -m 2 -n 512 -t -w 0',
] as const;

interface Options {
  /** Single letters that are set. */
  readonly letters: ReadonlySet<string>;
  /** Of letters with an argument. */
  readonly values: ReadonlyMap<string, string>;
  /** What is no option. */
  readonly rest: readonly string[];
}

function parse(line: string): Options {
  const letters = new Set<string>();
  const values = new Map<string, string>();
  const rest: string[] = [];
  const words = line.split(' ');
  for (let at = 0; at < words.length; at++) {
    const text = words[at] as string;
    const letter = text.slice(1);
    if (!text.startsWith('-')) rest.push(text);
    else if ('mnrjf'.includes(letter)) values.set(letter, words[++at] as string);
    else letters.add(letter);
  }
  return { letters, values, rest };
}

/** What the program prints, as the table has it. */
interface Figures {
  readonly pages: number;
  readonly get: number;
  readonly put: number;
}

/** The memory that a run tests, each page touched once. */
function* memory(
  u: User,
  { letters, values }: Options,
): Task<{ readonly start: bigint; readonly bytes: number }> {
  const bytes = Number(values.get('m') ?? 128) * MIB;
  const shared = letters.has('S');
  const huge = letters.has('H');
  const fd = values.has('f') ? yield* u.must(u.memfdCreate('file')) : undefined;
  if (fd !== undefined) yield* u.must(u.ftruncate(fd, bytes));
  const place = fd === undefined ? {} : { fd };
  const start = yield* u.must(
    u.mmap({ bytes, prot: 'rw', shared, ...(huge ? { hugetlb: '2MiB' } : {}), ...place }),
  );
  yield* u.madvise(start, bytes, letters.has('t') ? 'HUGEPAGE' : 'NOHUGEPAGE');
  for (let page = 0; page < bytes / PAGE; page++) yield* u.must(u.store(start + BigInt(page * PAGE), 0n));
  return { start, bytes };
}

/** One thread of a run: the test, as often as `-r` says, with the figures of the last time. */
function* thread(u: User, fd: number, options: Options, address: bigint, bytes: number): Task<Figures> {
  const { letters, values, rest } = options;
  const test = Object.keys(COMMANDS).find((letter) => letters.has(letter)) ?? 'u';
  let figures: Figures = { pages: 0, get: 0, put: 0 };
  for (let repeat = 0; repeat < Number(values.get('r') ?? 1); repeat++) {
    const { pages, getCycles, putCycles } = yield* u.must(
      u.gupTest(fd, COMMANDS[test as keyof typeof COMMANDS], {
        address,
        bytes,
        pagesPerCall: Number(values.get('n') ?? 1),
        flags: letters.has('W') ? [] : ['FOLL_WRITE'],
        dumpPin: letters.has('p'),
        whichPages: rest.map((page) => Number(page) + 1),
      }),
    );
    figures = { pages, get: getCycles, put: putCycles };
  }
  return figures;
}

/** A run; what each thread found goes to the report. */
function* run(u: User, line: string, found: (figures: Figures) => void): Task<void> {
  const options = parse(line);
  const { start, bytes } = yield* memory(u, options);
  const fd = yield* u.must(u.gupTestOpen());
  for (let extra = 1; extra < Number(options.values.get('j') ?? 1); extra++) {
    yield* u.must(
      u.cloneVm(function* (t) {
        found(yield* thread(t, fd, options, start, bytes));
      }, 'second thread'),
    );
  }
  found(yield* thread(u, fd, options, start, bytes));
  if (options.values.has('j')) yield* u.must(u.wait());
  yield* u.must(u.close(fd));
  yield* u.must(u.munmap(start, bytes));
}

/** Of each thread of a run, the first one first. */
function figuresOf(world: WorldView, line: string): readonly Figures[] {
  const threads = Number(parse(line).values.get('j') ?? 1);
  return Array.from({ length: threads }, (_, thread) => {
    const [pages = 0, get = 0, put = 0] = String(world.share.get(`${line}, thread ${thread}`))
      .split(' ')
      .map(Number);
    return { pages, get, put };
  });
}

export default defineScenario({
  title: 'gup_test',
  cpus: 2,
  hugepages: { '2MiB': 4 },
  transparentHugepage: 'madvise',
  timeline: false,
  placement: { 'second thread': 1 },
  programs: {
    *gup_test(u, share) {
      for (const line of RUNS) {
        let threads = 0;
        yield* run(u, line, (figures) => {
          share.set(`${line}, thread ${threads++}`, `${figures.pages} ${figures.get} ${figures.put}`);
        });
      }
    },
  },
  finally: {
    'every run took all of its pages': (world) =>
      RUNS.every((line) => {
        const all = (Number(parse(line).values.get('m')) * MIB) / PAGE;
        return figuresOf(world, line).every(({ pages }) => pages === all);
      }),
    'what was pinned said so': (world) => world.warnings.length === 0,
    'every pin was taken off': (world) => world.counter('pins-acquired') === world.counter('pins-released'),
  },
  report: (world) => [
    {
      heading: 'Time',
      table: {
        columns: [
          'gup_test',
          'test',
          { title: 'pages', align: 'right' },
          { title: 'get, cycles', align: 'right' },
          { title: 'put, cycles', align: 'right' },
          { title: 'get a page', align: 'right' },
        ],
        rows: RUNS.flatMap((line) => {
          const { letters } = parse(line);
          const test = Object.entries(COMMANDS).find(([letter]) => letters.has(letter))?.[1] ?? '';
          return figuresOf(world, line).map(({ pages, get, put }) => [
            line,
            test,
            pages,
            get,
            put,
            (get / pages).toFixed(1),
          ]);
        }),
      },
      notes: ['-j 2: a line for each thread. Virtual cycles; --profile says of which processor.'],
    },
  ],
});
