/**
 * Flushing an mm's TLB entries on every CPU that may have some, by interrupting them. Each flush raises the mm's
 * generation; a CPU that is exactly one behind may invalidate just the pages, any other flushes the whole PCID, and one
 * that is up to date does nothing.
 * Left out: INVLPGB, the second PCID of page-table isolation, kernel ranges, batched flushes of reclaim.
 * @see Linux arch/x86/mm/tlb.c, `flush_tlb_mm_range`, `flush_tlb_func`, `should_flush_tlb`, `native_flush_tlb_multi`
 */
import { PointKind, SchedPoint, SharedObject, StepCost, type Task } from '../../../base/task.ts';
import type { Machine } from '../../../hardware/machine.ts';
import { switchMmIrqsOff, type X86KernelCpu } from './switch-mm.ts';
import type { X86MmContext } from './tlb-state.ts';

/** `tlb_single_page_flush_ceiling`: more entries than this are flushed all at once. */
export const TLB_SINGLE_PAGE_FLUSH_CEILING = 33;
/** Cycles between two flushes that also visit CPUs with only a stale mask bit: Linux's HZ, at 3 GHz. */
const TRIM_INTERVAL = 3_000_000_000;

/** `struct flush_tlb_info`. */
export interface FlushRequest {
  readonly mm: X86MmContext;
  readonly startPage: number;
  readonly endPage: number;
  /** TLB_FLUSH_ALL. */
  readonly all: boolean;
  /** Pages from one invalidation to the next. */
  readonly stridePages: number;
  readonly newGeneration: number;
  readonly initiatingCpu: number;
  readonly freedTables: boolean;
  readonly trimCpuMask: boolean;
}

/** All CPUs of the machine, by index. */
export interface X86KernelCpus {
  readonly machine: Machine;
  readonly cpus: readonly X86KernelCpu[];
}

/**
 * What each CPU does; interrupts are off.
 * @see `flush_tlb_func`
 */
export function* flushTlbFunc(kernelCpu: X86KernelCpu, request: FlushRequest): Task<void> {
  const { state, port, initMm } = kernelCpu;
  const { mm } = request;
  if (state.loadedMm !== mm) {
    yield mm.clearCpuMask;
    mm.clearCpu(state.cpu);
    return;
  }
  if (state.isLazy) {
    // Leaving costs no more than flushing, and the tables may be about to be freed.
    yield* switchMmIrqsOff(kernelCpu, initMm);
    return;
  }
  const asid = state.loadedAsid;
  const localGeneration = state.generations[asid] as number;
  if (request.newGeneration <= localGeneration) return;
  yield mm.readGeneration;
  const mmGeneration = mm.tlbGeneration;
  if (localGeneration === mmGeneration) return;
  const partial =
    !request.all && request.newGeneration === localGeneration + 1 && request.newGeneration === mmGeneration;
  if (partial) {
    for (let page = request.startPage; page < request.endPage; page += request.stridePages) port.invlpg(page);
  } else {
    port.loadCr3(mm.rootFrame, kernelCpu.hasPcid ? asid + 1 : 0, mm.lamCr3Bits, false);
  }
  state.generations[asid] = mmGeneration;
}

/** Must the CPU be interrupted? @see `should_flush_tlb` */
function shouldFlush({ state }: X86KernelCpu, request: FlushRequest): boolean {
  if (state.isLazy) return false;
  if (state.switching || state.loadedMm === request.mm) return true;
  return request.trimCpuMask;
}

/** @see `flush_tlb_mm_range`; the caller's task does not move to another CPU meanwhile */
export function* flushTlbMmRange(
  all: X86KernelCpus,
  cpu: number,
  mm: X86MmContext,
  startPage: number,
  endPage: number,
  stridePages: number,
  freedTables: boolean,
): Task<void> {
  yield mm.incrementGeneration;
  const newGeneration = ++mm.tlbGeneration;
  const time = all.machine.cpu(cpu).time;
  const trimCpuMask = time >= mm.nextTrim && mm.nextTrim !== 0;
  if (time >= mm.nextTrim) mm.nextTrim = time + TRIM_INTERVAL;
  const request: FlushRequest = {
    mm,
    startPage,
    endPage,
    all: Math.ceil((endPage - startPage) / stridePages) > TLB_SINGLE_PAGE_FLUSH_CEILING,
    stridePages,
    newGeneration,
    initiatingCpu: cpu,
    freedTables,
    trimCpuMask,
  };
  yield mm.readCpuMask;
  const others = all.cpus.some((other) => other.state.cpu !== cpu && mm.hasCpu(other.state.cpu));
  if (others) yield* flushTlbMulti(all, cpu, request);
  else if ((all.cpus[cpu] as X86KernelCpu).state.loadedMm === mm) yield* flushLocally(all, cpu, request);
}

function* flushLocally(all: X86KernelCpus, cpu: number, request: FlushRequest): Task<void> {
  const own = all.cpus[cpu] as X86KernelCpu;
  own.cpu.disableInterrupts();
  yield* flushTlbFunc(own, request);
  own.cpu.enableInterrupts();
}

/**
 * Interrupts the CPUs that need it, does the own part, waits for all.
 * @see `native_flush_tlb_multi`; kernel/smp.c, `smp_call_function_many_cond`
 */
function* flushTlbMulti(all: X86KernelCpus, cpu: number, request: FlushRequest): Task<void> {
  const { mm } = request;
  const targets: number[] = [];
  for (const other of all.cpus) {
    const id = other.state.cpu;
    if (id === cpu || !mm.hasCpu(id)) continue;
    if (!request.freedTables) {
      yield other.state.look;
      if (!shouldFlush(other, request)) continue;
    }
    targets.push(id);
  }
  const call = new CrossCall(targets.length);
  for (const id of targets) {
    yield call.send;
    all.machine.interconnect.sendInterrupt(
      cpu,
      id,
      () => call.run(flushTlbFunc(all.cpus[id] as X86KernelCpu, request)),
      'tlb flush',
    );
  }
  if (mm.hasCpu(cpu)) yield* flushLocally(all, cpu, request);
  if (targets.length === 0) return;
  all.machine.cpu(cpu).onWaitForOthers?.();
  yield call.wait;
}

/** A function running on other CPUs that the sender waits for (`call_single_data`). */
class CrossCall extends SharedObject {
  #outstanding: number;
  readonly send: SchedPoint;
  readonly done: SchedPoint;
  readonly wait: SchedPoint;

  constructor(outstanding: number) {
    super('call function data');
    this.#outstanding = outstanding;
    this.send = new SchedPoint(PointKind.Write, this, 'send_call_function_ipi', StepCost.InterruptSend);
    this.done = new SchedPoint(PointKind.Write, this, 'csd_unlock', StepCost.AtomicUpdate);
    this.wait = new SchedPoint(
      PointKind.Wait,
      this,
      'csd_lock_wait',
      StepCost.SharedLoad,
      () => this.#outstanding === 0,
    );
  }

  *run(body: Task<void>): Task<void> {
    yield* body;
    yield this.done;
    this.#outstanding--;
  }
}
