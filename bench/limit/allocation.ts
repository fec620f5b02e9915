/**
 * What a piece of code allocates: the growth of the heap plus everything that collections freed meanwhile, so that
 * garbage which is gone before anybody looks still counts.
 */
import { GCProfiler } from 'node:v8';

/** Bytes that `work` allocates on the JavaScript heap. */
export function allocatedBy(work: () => void): number {
  const profiler = new GCProfiler();
  profiler.start();
  const before = process.memoryUsage().heapUsed;
  work();
  const after = process.memoryUsage().heapUsed;
  const { statistics } = profiler.stop();
  let freed = 0;
  for (const { beforeGC, afterGC } of statistics) {
    freed += beforeGC.heapStatistics.usedHeapSize - afterGC.heapStatistics.usedHeapSize;
  }
  return after - before + freed;
}
