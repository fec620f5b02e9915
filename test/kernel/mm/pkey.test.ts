/** Protection keys. @see Linux mm/mprotect.c, arch/x86/mm/pkeys.c; selftests/mm/protection_keys.c */
import { describe, expect, it } from 'vitest';
import { PKEY_DISABLE_ACCESS, PKEY_DISABLE_WRITE } from '../../../src/arch/protection-keys.ts';
import { errnoName } from '../../../src/kernel/errno.ts';
import { PROT_EXEC, PROT_READ, PROT_WRITE } from '../../../src/kernel/mm/mman.ts';
import { sysMprotect, sysPkeyMprotect } from '../../../src/kernel/mm/mprotect.ts';
import { pkeyAlloc, pkeyFree } from '../../../src/kernel/mm/pkey.ts';
import { copyToUser } from '../../../src/kernel/mm/user-access.ts';
import { pkeyOf } from '../../../src/kernel/mm/vma-flags.ts';
import { sysProcessVmReadv } from '../../../src/kernel/remote/process-vm.ts';
import { SEGV_ACCERR, SEGV_PKUERR } from '../../../src/kernel/signal.ts';
import type { TaskStruct } from '../../../src/kernel/task-struct.ts';
import { architectureName } from '../../support/architecture.ts';
import { addressOf, BASE_PAGE, mmOf, ProcessWorld } from './process-world.ts';

const RW = PROT_READ | PROT_WRITE;
const PAGE = 0x1000n;

function protect(world: ProcessWorld, task: TaskStruct, page: number, prot: number, key: number): number {
  return world.run(task, sysPkeyMprotect(task, addressOf(page), PAGE, prot, key));
}

const keyAt = (task: TaskStruct, page: number): number =>
  pkeyOf(mmOf(task).vmas.lookup(BASE_PAGE + page)?.flagsHigh ?? -1);

/** Four pages, each written once, on a processor with keys. */
function worldWithKeys() {
  const world = new ProcessWorld({ cpus: 2, processor: { cpuModel: 'intel-sapphire-rapids' } });
  const task = world.process();
  world.map(task, 0, 4, RW);
  for (let page = 0; page < 4; page++) world.store(task, page, page + 1);
  const alloc = (rights: number): number => world.run(task, pkeyAlloc(task, 0n, BigInt(rights)));
  return { world, task, alloc };
}

describe('a processor without protection keys', () => {
  it('has none to give, each architecture in its own words; plain mprotect does not ask', () => {
    const world = new ProcessWorld();
    const task = world.process();
    world.map(task, 0, 1, RW);
    const answers = [
      world.run(task, pkeyAlloc(task, 0n, 0n)),
      world.run(task, pkeyAlloc(task, 1n, 0n)),
      world.run(task, pkeyAlloc(task, 0n, 16n)),
      protect(world, task, 0, PROT_READ, 1),
      protect(world, task, 0, PROT_READ, 0),
      protect(world, task, 0, PROT_READ, -1),
    ].map((answer) => (answer < 0 ? errnoName(answer) : answer));
    const noKey = { x86_64: 'EINVAL', arm64: 'ENOSPC' }[architectureName];
    const key0 = { x86_64: 'EINVAL', arm64: 0 }[architectureName];
    expect(answers).toEqual([noKey, 'EINVAL', 'EINVAL', 'EINVAL', key0, 0]);
  });
});

describe.runIf(architectureName === 'x86_64')('protection keys of an address space', () => {
  it('are given out from 1 to 15, taken back, and given out again', () => {
    const { world, task, alloc } = worldWithKeys();
    expect(Array.from({ length: 16 }, () => alloc(0))).toEqual([
      ...Array.from({ length: 15 }, (_, i) => i + 1),
      -28,
    ]);
    const free = (key: number) => world.run(task, pkeyFree(task, key));
    expect([free(5), free(5), free(16), free(-1)]).toEqual([0, -22, -22, -22]);
    expect(alloc(0)).toBe(5);
  });

  it('mark mappings, which split and merge by them, and their ptes', () => {
    const { world, task, alloc } = worldWithKeys();
    const key = alloc(0);
    expect(protect(world, task, 1, RW, key + 1)).toBe(-22);
    expect(protect(world, task, 1, RW, key)).toBe(0);
    expect([...mmOf(task).vmas].map((vma) => [vma.pages, pkeyOf(vma.flagsHigh)])).toEqual([
      [1, 0],
      [1, 1],
      [2, 0],
    ]);
    // Without a key, the mapping keeps its own.
    expect(world.run(task, sysMprotect(task, addressOf(1), PAGE, PROT_READ))).toBe(0);
    expect(keyAt(task, 1)).toBe(1);
    expect(protect(world, task, 1, RW, 0)).toBe(0);
    expect([...mmOf(task).vmas].map((vma) => vma.pages)).toEqual([4]);
    expect(world.inconsistencies()).toEqual([]);
  });

  it('refuse what the thread may not do with them, with their number, at once and for fresh pages alike', () => {
    const { world, task, alloc } = worldWithKeys();
    const closed = alloc(PKEY_DISABLE_ACCESS);
    const readable = alloc(PKEY_DISABLE_WRITE);
    protect(world, task, 0, RW, closed);
    protect(world, task, 1, RW, readable);
    expect(world.load(task, 0)).toMatchObject({ code: SEGV_PKUERR, pkey: closed, address: addressOf(0) });
    expect(world.store(task, 0, 9)).toMatchObject({ code: SEGV_PKUERR, pkey: closed });
    expect(world.load(task, 1)).toBe(2);
    expect(world.store(task, 1, 9)).toMatchObject({ code: SEGV_PKUERR, pkey: readable });
    world.map(task, 8, 1, RW);
    protect(world, task, 8, RW, closed);
    expect(world.load(task, 8)).toMatchObject({ code: SEGV_PKUERR, pkey: closed });
    expect(world.pte(task, 8).flags).toBe(0);
    // What the mapping itself does not allow is not the key's affair, but the key is asked first.
    protect(world, task, 2, PROT_READ, 0);
    expect(world.store(task, 2, 9)).toMatchObject({ code: SEGV_ACCERR });
  });

  it('bind the kernel’s copies for the thread, but nobody from outside', () => {
    const { world, task, alloc } = worldWithKeys();
    protect(world, task, 0, RW, alloc(PKEY_DISABLE_ACCESS));
    expect(world.run(task, copyToUser(task, addressOf(0), Uint8Array.of(1, 2)))).toBe(2);
    const other = world.process('other');
    world.map(other, 0, 1, RW);
    const vector = { base: addressOf(0), length: 8n };
    const all = { local: [vector], localCount: 1, remote: [vector], remoteCount: 1, flags: 0 };
    const call = sysProcessVmReadv(other, { pid: task.pid, ...all });
    expect(world.run(other, call)).toBe(8);
    expect(world.load(other, 0)).toBe(1);
  });
});

describe.runIf(architectureName === 'x86_64')('rights to protection keys', () => {
  it('are the thread’s own: another one has those it began with, a child those of its parent', () => {
    const { world, task, alloc } = worldWithKeys();
    const key = alloc(0);
    protect(world, task, 0, RW, key);
    const thread = world.thread(task, 'thread', 1);
    expect(world.load(task, 0)).toBe(1);
    expect(world.load(thread, 0)).toMatchObject({ code: SEGV_PKUERR, pkey: key });
    const child = world.fork(task);
    expect(world.load(child, 0)).toBe(1);
    expect(world.load(thread, 0)).toMatchObject({ code: SEGV_PKUERR });
    const { protectionKeys } = world.kernel.arch;
    protectionKeys.register?.write(thread.cpu, 0);
    expect([world.load(thread, 0), world.load(task, 0)]).toEqual([1, 1]);
    // The child's address space has the key as well: the next one is another.
    expect(world.run(child, pkeyAlloc(child, 0n, 0n))).toBe(key + 1);
  });

  it('need no flush: they are looked at with every access', () => {
    const { world, task, alloc } = worldWithKeys();
    const key = alloc(0);
    protect(world, task, 0, RW, key);
    expect(world.load(task, 0)).toBe(1);
    const { register } = world.kernel.arch.protectionKeys;
    const open = register?.read(task.cpu) ?? 0;
    register?.write(task.cpu, open | (1 << (2 * key)));
    expect(world.load(task, 0)).toMatchObject({ code: SEGV_PKUERR });
    register?.write(task.cpu, open);
    expect(world.load(task, 0)).toBe(1);
  });
});

describe.runIf(architectureName === 'x86_64')('memory that is mapped for execution only', () => {
  it('gets a key that nobody can name and whose data the thread cannot touch; later the key is dropped', () => {
    const { world, task, alloc } = worldWithKeys();
    world.map(task, 8, 1, PROT_EXEC);
    const key = keyAt(task, 8);
    expect(key).toBe(1);
    expect(world.fetch(task, 8)).toBeNull();
    expect(world.load(task, 8)).toMatchObject({ code: SEGV_PKUERR, pkey: key });
    expect([world.run(task, pkeyFree(task, key)), protect(world, task, 0, RW, key), alloc(0)]).toEqual([
      -22, -22, 2,
    ]);
    world.run(task, sysMprotect(task, addressOf(0), PAGE, PROT_EXEC));
    expect([keyAt(task, 0), world.load(task, 0)]).toMatchObject([key, { code: SEGV_PKUERR }]);
    world.run(task, sysMprotect(task, addressOf(0), PAGE, PROT_READ));
    expect([keyAt(task, 0), world.load(task, 0)]).toEqual([0, 1]);
  });

  it('is readable when every key is taken', () => {
    const { world, task, alloc } = worldWithKeys();
    while (alloc(0) > 0);
    world.map(task, 8, 1, PROT_EXEC);
    expect([keyAt(task, 8), world.load(task, 8)]).toEqual([0, 0]);
  });
});
