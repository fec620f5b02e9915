/**
 * What is counted for each user, however many processes he has: pages that drivers keep in memory for him.
 * Left out: the other counters (processes, pending signals, message queues); user namespaces.
 * @see Linux include/linux/sched/user.h, `struct user_struct`
 */
import { PointKind, SchedPoint, SharedObject, StepCost } from '../../base/task.ts';

export class UserStruct extends SharedObject {
  readonly uid: number;
  /** Pages (`user->locked_vm`), atomic: yield at `lockedVmWrite` first. */
  lockedVm = 0;
  /** Just before `lockedVm` changes. */
  readonly lockedVmWrite: SchedPoint;

  constructor(uid: number) {
    super(`user ${uid}`);
    this.uid = uid;
    this.lockedVmWrite = new SchedPoint(PointKind.Write, this, 'locked_vm', StepCost.AtomicUpdate);
  }
}

/** Every user there was, by user id (`uidhash_table`). */
export class UserStructs {
  readonly #byUid = new Map<number, UserStruct>();

  /** `current_user()` for a task's real user id. */
  of(uid: number): UserStruct {
    let user = this.#byUid.get(uid);
    if (user === undefined) {
      user = new UserStruct(uid);
      this.#byUid.set(uid, user);
    }
    return user;
  }
}
