/** `npm run bench -- verify`: recorded hardware vectors a second, on one core, unpacking and JSON included. */
import { Bench } from 'tinybench';
import { verifyVectors } from '../src/conformance/verify/verify.ts';

const FILE = 'test/vectors/x86_64.jsonl.gz';
/** Vectors a second. */
const PROMISED = 20_000;

export async function verify(): Promise<number> {
  let vectors = 0;
  const bench = new Bench({ name: 'verify', iterations: 5, time: 0, warmupIterations: 0, warmup: false });
  const cpuSeconds: number[] = [];
  bench.add(FILE, async () => {
    const start = process.cpuUsage();
    const { passed, failed } = await verifyVectors([FILE]);
    const { user, system } = process.cpuUsage(start);
    cpuSeconds.push((user + system) / 1e6);
    vectors = passed;
    if (failed > 0) throw new Error(`${failed} vectors failed`);
  });
  await bench.run();
  const [task] = bench.tasks;
  if (task === undefined || !('latency' in task.result)) throw new Error(`${FILE}: ${task?.result.state}`);
  const rate = (seconds: number): number => Math.round(vectors / seconds);
  const cpu = rate([...cpuSeconds].sort((a, b) => a - b)[cpuSeconds.length >> 1] as number);
  const first = rate(cpuSeconds[0] as number);
  console.log(`${FILE}: ${vectors} vectors, median of ${cpuSeconds.length}`);
  console.log(
    `${cpu.toLocaleString('en')} a second of CPU time (the first, cold pass: ${first.toLocaleString('en')})`,
  );
  console.log(`${rate(task.result.latency.p50 / 1000).toLocaleString('en')} a second by the clock`);
  console.log(`promised: ${PROMISED.toLocaleString('en')}: ${cpu >= PROMISED ? 'met' : 'MISSED'}`);
  return cpu >= PROMISED ? 0 : 1;
}
