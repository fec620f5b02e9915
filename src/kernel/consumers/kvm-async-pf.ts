/**
 * KVM's asynchronous page fault: a page of a guest that is not there is faulted in by a kernel worker, while the vCPU does
 * something else. What became of it nobody asks: the guest faults again.
 * Left out: telling the guest in its own memory (KVM_PV_REASON_PAGE_NOT_PRESENT), the cache of pages that are under way.
 * @see Linux virt/kvm/async_pf.c, `kvm_setup_async_pf`, `async_pf_execute`
 */
import { PointKind, SchedPoint, SharedObject, StepCost, type Task } from '../../base/task.ts';
import type { MmStruct } from '../mm/mm.ts';
import { mmgetNotZero, mmput } from '../mm/mm-lifetime.ts';
import { faultInRemotePage } from '../remote/remote-lock.ts';
import type { TaskStruct } from '../task-struct.ts';

/** ASYNC_PF_PER_VCPU: more are not queued, and the vCPU waits itself. */
export const ASYNC_PF_PER_VCPU = 64;

/** One page on its way (`struct kvm_async_pf`). */
export class AsyncPageFault extends SharedObject {
  readonly mm: MmStruct;
  /** Of the host. */
  readonly page: number;
  done = false;
  readonly #change: SchedPoint;

  constructor(mm: MmStruct, page: number) {
    super(`async page fault ${mm.kernel.nextSerial('async page fault')}`);
    this.mm = mm;
    this.page = page;
    this.#change = new SchedPoint(PointKind.Write, this, 'async_pf_execute', StepCost.AtomicUpdate);
  }

  /**
   * The work item; `current` is a worker. The process may have gone: then there is nothing to do. Its memory is another's, and a
   * userfaultfd may keep the worker waiting, with no lock held.
   */
  *execute(current: TaskStruct): Task<void> {
    if (yield* mmgetNotZero(this.mm)) {
      yield* faultInRemotePage(current, this.mm, this.page);
      yield* mmput(current, this.mm);
    }
    yield this.#change;
    this.done = true;
  }

  /** The vCPU is halted until the page is there, or a fatal signal comes: KVM_REQ_APF_HALT. */
  *halt(current: TaskStruct): Task<void> {
    const ready = (): boolean => this.done || current.fatalSignalPending();
    yield new SchedPoint(PointKind.Wait, this, 'kvm_vcpu_halt', StepCost.ContextSwitch, ready);
  }
}
