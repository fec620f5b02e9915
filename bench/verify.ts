/** `npm run bench -- verify`: recorded hardware vectors a second, on one core, unpacking and JSON included. */
import { Bench } from 'tinybench';
import { verifyVectors } from '../src/conformance/verify/verify.ts';

/** Files, and what was promised for each in vectors a second. */
const FILES: readonly (readonly [file: string, promised: number])[] = [
  ['test/vectors/x86_64.jsonl.gz', 20_000],
  ['test/vectors/arm64.jsonl.gz', 15_000],
];

export async function verify(): Promise<number> {
  let missed = 0;
  for (const [file, promised] of FILES) if (!(await verifyFile(file, promised))) missed++;
  return missed === 0 ? 0 : 1;
}

/** Returns whether the file's vectors ran as fast as was promised. */
async function verifyFile(file: string, promised: number): Promise<boolean> {
  let vectors = 0;
  const bench = new Bench({ name: 'verify', iterations: 5, time: 0, warmupIterations: 0, warmup: false });
  const cpuSeconds: number[] = [];
  bench.add(file, async () => {
    const start = process.cpuUsage();
    const { passed, failed } = await verifyVectors([file]);
    const { user, system } = process.cpuUsage(start);
    cpuSeconds.push((user + system) / 1e6);
    vectors = passed;
    if (failed > 0) throw new Error(`${failed} vectors failed`);
  });
  await bench.run();
  const [task] = bench.tasks;
  if (task === undefined || !('latency' in task.result)) throw new Error(`${file}: ${task?.result.state}`);
  const rate = (seconds: number): number => Math.round(vectors / seconds);
  const cpu = rate([...cpuSeconds].sort((a, b) => a - b)[cpuSeconds.length >> 1] as number);
  const first = rate(cpuSeconds[0] as number);
  console.log(`${file}: ${vectors} vectors, median of ${cpuSeconds.length}`);
  console.log(
    `${cpu.toLocaleString('en')} a second of CPU time (the first, cold pass: ${first.toLocaleString('en')})`,
  );
  console.log(`${rate(task.result.latency.p50 / 1000).toLocaleString('en')} a second by the clock`);
  console.log(`promised: ${promised.toLocaleString('en')}: ${cpu >= promised ? 'met' : 'MISSED'}`);
  return cpu >= promised;
}
