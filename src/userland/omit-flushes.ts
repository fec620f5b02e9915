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

type Scope = Pick<OmittedFlush, 'startPage' | 'endPage' | 'freedTables'>;

const pagesOf = (startPage: number, endPage: number, freedTables: boolean): Scope => ({
  startPage,
  endPage,
  freedTables,
});

/** Methods of the seam, with the scope that their arguments mean. */
const METHODS: Readonly<
  Record<string, { readonly operation: FlushOperation; readonly scope: (args: readonly unknown[]) => Scope }>
> = {
  flushTlbRange: {
    operation: 'flush_tlb_range',
    scope: (args) => pagesOf(args[2] as number, args[3] as number, args[5] as boolean),
  },
  flushTlbPage: {
    operation: 'flush_tlb_page',
    scope: (args) => pagesOf(args[2] as number, (args[2] as number) + 1, false),
  },
  flushTlbMm: { operation: 'flush_tlb_mm', scope: () => pagesOf(0, Number.MAX_SAFE_INTEGER, true) },
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
          const { operation } = method;
          omitted.push({ mm: context.name, operation, ...method.scope(args), cpu, task: taskOn(cpu) });
          return nothing();
        };
      }
      const value: unknown = Reflect.get(target, key, target);
      return typeof value === 'function' ? (value.bind(target) as unknown) : value;
    },
  });
}
