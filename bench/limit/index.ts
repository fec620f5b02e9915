/**
 * `npm run bench -- limit`: translations per second beside a C program compiled with `cc -O2`, both measured in the same
 * run, alternately; medians; then arm64 beside x86-64, in the same way. Also what a translation allocates, and how soon the built package translates.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { X86Mmu } from '../../src/arch/x86_64/mmu.ts';
import { GOLDEN_COVE } from '../../src/hardware/retention.ts';
import { allocatedBy } from './allocation.ts';
import { ARM64_WORKLOADS, Arm64Bench } from './arm64.ts';
import {
  checksumsAgree,
  type Measure,
  measure,
  median,
  pairedRatio,
  type Round,
  rate,
  sameChecksum,
} from './measure.ts';
import { ACCESSES, buildMmu, makeStream, runPass, WORKLOADS, type Workload } from './workloads.ts';

const REPETITIONS = 7;

/** An object a translation would be 16 bytes at least; the runtime's own (compiling, timing) is far less. */
const MOST_BYTES = 1;
/** Milliseconds. */
const MOST_STARTUP = 50;

export function limit(): number {
  const c = compileC();
  if (c === null) console.log('no C compiler (cc) here: only this project is measured\n');
  const mmu = buildMmu();
  const streams = new Map(WORKLOADS.map((workload) => [workload.name, makeStream(workload)]));
  const arm64 = new Arm64Bench();
  measureOurs(mmu, streams);
  arm64.measure();
  const ours: Round[] = [];
  const theirs: Round[] = [];
  const arm64Rounds: Round[] = [];
  for (let i = 0; i < REPETITIONS; i++) {
    if (c !== null) theirs.push(runC(c.program));
    ours.push(measureOurs(mmu, streams));
    arm64Rounds.push(arm64.measure());
  }
  const missed = printTable(ours, theirs);
  missed.push(...printArm64Table(arm64Rounds, ours));
  printProcessorProfile(streams);
  missed.push(...printAllocation(mmu, streams, arm64));
  missed.push(...printStartup());
  if (c !== null) rmSync(c.folder, { recursive: true });
  console.log(missed.length === 0 ? '\nevery promise is met' : `\nmissed: ${missed.join(', ')}`);
  return missed.length === 0 ? 0 : 1;
}

function compileC(): { readonly folder: string; readonly program: string } | null {
  const folder = mkdtempSync(join(tmpdir(), 'tablewalk-limit-'));
  const program = join(folder, 'limit');
  const source = fileURLToPath(new URL('./limit.c', import.meta.url));
  const result = spawnSync('cc', ['-O2', '-o', program, source], { stdio: ['ignore', 'ignore', 'inherit'] });
  if (result.status === 0) return { folder, program };
  rmSync(folder, { recursive: true });
  return null;
}

function runC(program: string): Round {
  const round = new Map<string, Measure>();
  for (const line of execFileSync(program, { encoding: 'utf8' }).trim().split('\n')) {
    const [name, nanoseconds, checksum] = line.split(' ') as [string, string, string];
    round.set(name, { nanoseconds: Number(nanoseconds), checksum: Number(checksum) });
  }
  return round;
}

function measureOurs(mmu: X86Mmu, streams: ReadonlyMap<string, Int32Array>): Round {
  const round = new Map<string, Measure>();
  for (const workload of WORKLOADS) {
    const stream = streams.get(workload.name) as Int32Array;
    mmu.reset();
    round.set(
      workload.name,
      measure(ACCESSES, () => runPass(mmu, workload, stream)),
    );
  }
  return round;
}

/** The name of a promise that is missed, nothing for one that is kept. */
const verdict = (name: string, met: boolean): readonly string[] => (met ? [] : [name]);

/** The same MMU with the caches of a real processor, paging-structure caches too, which the C program does not have. */
function printProcessorProfile(streams: ReadonlyMap<string, Int32Array>): void {
  const mmu = buildMmu(GOLDEN_COVE);
  measureOurs(mmu, streams);
  const round = measureOurs(mmu, streams);
  const rates = [...round].map(([name, { nanoseconds }]) => `${name} ${(1e3 / nanoseconds).toFixed(1)}`);
  console.log(`\nwith the caches of ${GOLDEN_COVE.name}: ${rates.join(', ')}`);
}

/** @returns the rows that missed their promise, or whose checksums differ: then the two did not do the same work */
function printTable(ours: readonly Round[], theirs: readonly Round[]): string[] {
  console.log(
    `medians of ${REPETITIONS}, millions per second of CPU time; the ratio is that of neighbours in time`,
  );
  console.log(
    `${'workload'.padEnd(14)} ${'what'.padEnd(38)} ${'C'.padStart(8)} ${'ours'.padStart(8)} ${'ratio'.padStart(6)}  promised`,
  );
  const missed: string[] = [];
  for (const workload of WORKLOADS) {
    const { name } = workload;
    const mine = rate(ours, name);
    const c = theirs.length === 0 ? undefined : rate(theirs, name);
    const ratio = c === undefined ? undefined : pairedRatio(ours, name, theirs);
    const agree = checksumsAgree([...ours, ...theirs], name);
    const met = agree && keepsPromise(workload, c, mine, ratio);
    missed.push(...verdict(workload.name, met));
    console.log(
      `${row(workload, c, mine, ratio)}${agree ? '' : '  CHECKSUMS DIFFER'}${met ? '' : '  MISSED'}`,
    );
  }
  return missed;
}

/** Of `read64`: 60 million a second, where C does 100 at least; on a slower machine in proportion. */
function keepsPromise(
  { name, target }: Workload,
  c: number | undefined,
  mine: number,
  ratio: number | undefined,
): boolean {
  if (c === undefined || ratio === undefined) return true;
  if (name === 'read64') return mine >= Math.min(60, 0.6 * c);
  return target === undefined || ratio >= target;
}

function row(workload: Workload, c: number | undefined, mine: number, ratio: number | undefined): string {
  const target = workload.target === undefined ? '' : `≥ ${workload.target.toFixed(2)}`;
  const promised = workload.name === 'read64' ? '≥ 60 M/s where C does 100' : target;
  const columns = [
    (c?.toFixed(1) ?? '-').padStart(8),
    mine.toFixed(1).padStart(8),
    (ratio?.toFixed(2) ?? '-').padStart(6),
  ];
  return `${workload.name.padEnd(14)} ${workload.what.padEnd(38)} ${columns.join(' ')}  ${promised}`;
}

/** The arm64 rows beside the x86-64 rows of the same round. @returns the rows that missed their promise */
function printArm64Table(rounds: readonly Round[], bases: readonly Round[]): string[] {
  console.log('\narm64 (4 KiB granule, 4 levels, TBI), compared with the x86-64 rows above');
  console.log(
    `${'workload'.padEnd(16)} ${'what'.padEnd(36)} ${'x86-64 row'.padEnd(14)} ${'ours'.padStart(8)} ${'ratio'.padStart(6)}  promised`,
  );
  const missed: string[] = [];
  for (const { name, what, base, same, target } of ARM64_WORKLOADS) {
    const ratio = pairedRatio(rounds, name, bases, base);
    const agree = checksumsAgree(rounds, name) && (!same || sameChecksum(rounds, name, bases, base));
    const met = agree && (target === undefined || ratio >= target);
    missed.push(...verdict(name, met));
    const columns = [rate(rounds, name).toFixed(1).padStart(8), ratio.toFixed(2).padStart(6)].join(' ');
    const promised = target === undefined ? '' : `≥ ${target.toFixed(2)}`;
    console.log(
      `${name.padEnd(16)} ${what.padEnd(36)} ${base.padEnd(14)} ${columns}  ${promised}${agree ? '' : '  CHECKSUMS DIFFER'}${met ? '' : '  MISSED'}`,
    );
  }
  return missed;
}

/** Bytes a translation allocates, over every workload; some bytes belong to the runtime itself. */
function printAllocation(
  mmu: X86Mmu,
  streams: ReadonlyMap<string, Int32Array>,
  arm64: Arm64Bench,
): readonly string[] {
  const x86 = allocatedPerPass(WORKLOADS, (workload) =>
    runPass(mmu, workload, streams.get(workload.name) as Int32Array),
  );
  const arm = allocatedPerPass(ARM64_WORKLOADS, (workload) => arm64.pass(workload));
  console.log(
    `\nallocated per translation: ${x86.toFixed(4)} bytes, arm64 ${arm.toFixed(4)} (nothing: below ${MOST_BYTES})`,
  );
  return verdict('allocation', Math.max(x86, arm) < MOST_BYTES);
}

function allocatedPerPass<Kind extends Workload>(
  workloads: readonly Kind[],
  pass: (workload: Kind) => number,
): number {
  const passes = 4;
  const bytes = allocatedBy(() => {
    for (const workload of workloads) for (let i = 0; i < passes; i++) pass(workload);
  });
  return bytes / (workloads.length * passes * ACCESSES);
}

/** Imports the built package in new processes and translates once. */
function printStartup(): readonly string[] {
  const dist = new URL('../../dist/', import.meta.url);
  if (!existsSync(new URL('index.js', dist)))
    execFileSync('npm', ['run', '-s', 'build'], { stdio: 'ignore' });
  const script = fileURLToPath(new URL('./startup.mjs', import.meta.url));
  const runs: number[] = [];
  for (let i = 0; i < REPETITIONS; i++) {
    runs.push(Number(execFileSync(process.execPath, [script, dist.href], { encoding: 'utf8' })));
  }
  const milliseconds = median(runs);
  console.log(
    `import of the built package to first translation: ${milliseconds.toFixed(1)} ms (promised < ${MOST_STARTUP})`,
  );
  return verdict('import', milliseconds < MOST_STARTUP);
}
