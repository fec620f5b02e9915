/**
 * A kernel with a bug put in on purpose: it changes page tables and does not flush the TLB afterwards. What it should
 * have flushed is noted, so that a check can name it.
 */
import type { KernelArch, MmContext } from '../arch/kernel-arch.ts';
import type { Task } from '../base/task.ts';
import type { OmittedFlush } from '../check/stale-translation.ts';

/** The kernel functions that can be left out. */
export const FLUSH_OPERATIONS = ['flush_tlb_range', 'flush_tlb_page', 'flush_tlb_mm'] as const;
export type FlushOperation = (typeof FLUSH_OPERATIONS)[number];

function* nothing(): Task<void> {}

type Range = readonly [start: number, end: number];

/** Methods of the seam, with the range that their arguments mean. */
const METHODS: Readonly<
  Record<string, { readonly operation: FlushOperation; readonly range: (args: readonly unknown[]) => Range }>
> = {
  flushTlbRange: {
    operation: 'flush_tlb_range',
    range: (args) => [args[2] as number, args[3] as number],
  },
  flushTlbPage: {
    operation: 'flush_tlb_page',
    range: (args) => [args[2] as number, (args[2] as number) + 1],
  },
  flushTlbMm: { operation: 'flush_tlb_mm', range: () => [0, Number.MAX_SAFE_INTEGER] },
};

/**
 * `arch` without these flushes.
 * @param taskOn name of the task on a CPU
 * @param omitted gets what was left out, in order
 */
export function withoutFlushes(
  arch: KernelArch,
  operations: readonly FlushOperation[],
  taskOn: (cpu: number) => string,
  omitted: OmittedFlush[],
): KernelArch {
  return new Proxy(arch, {
    get(target, key) {
      const method = typeof key === 'string' && Object.hasOwn(METHODS, key) ? METHODS[key] : undefined;
      if (method !== undefined && operations.includes(method.operation)) {
        return (...args: readonly unknown[]): Task<void> => {
          const [cpu, context] = args as [number, MmContext];
          const [startPage, endPage] = method.range(args);
          const { operation } = method;
          omitted.push({ mm: context.name, operation, startPage, endPage, cpu, task: taskOn(cpu) });
          return nothing();
        };
      }
      const value: unknown = Reflect.get(target, key, target);
      return typeof value === 'function' ? (value.bind(target) as unknown) : value;
    },
  });
}
