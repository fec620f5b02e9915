import { describe, expect, it } from 'vitest';
import {
  CAP_LAST_CAP,
  CAP_SETUID,
  CAP_SYS_PTRACE,
  CAP_SYS_RESOURCE,
  clearsDumpable,
  credentials,
  credentialsAfterSetuid,
  isCapabilitySubset,
  rootCredentials,
} from '../../../src/kernel/process/credentials.ts';

describe('setuid', () => {
  const user = credentials(1000, 1000);
  const privilegedUser = credentials(1000, 1000, new Set([CAP_SETUID, CAP_SYS_PTRACE]));
  const savedRoot = { ...user, suid: 0 };
  it.each([
    // setuid(2): with CAP_SETUID all ids change; without, only the effective one, to the real or saved one.
    {
      name: 'root becomes 1000 altogether',
      before: rootCredentials(),
      uid: 1000,
      ids: [1000, 1000, 1000, 1000],
    },
    { name: 'a user stays itself', before: user, uid: 1000, ids: [1000, 1000, 1000, 1000] },
    { name: 'a user cannot become another', before: user, uid: 1001, ids: null },
    { name: 'a user cannot become root', before: user, uid: 0, ids: null },
    { name: 'the saved id can be taken back', before: savedRoot, uid: 0, ids: [1000, 0, 0, 0] },
    { name: 'CAP_SETUID is enough', before: privilegedUser, uid: 7, ids: [7, 7, 7, 7] },
  ])('$name', ({ before, uid, ids }) => {
    const after = credentialsAfterSetuid(before, uid);
    if (ids === null) expect(after).toBeNull();
    else expect([after?.uid, after?.euid, after?.fsuid, after?.suid]).toEqual(ids);
  });

  it('takes every capability from a process that leaves root (capabilities(7), effect of user ID changes)', () => {
    const after = credentialsAfterSetuid(rootCredentials(), 1000);
    expect(after?.capEffective.size).toBe(0);
    expect(after?.capPermitted.size).toBe(0);
  });

  it('keeps the capabilities of a process that was not root', () => {
    const after = credentialsAfterSetuid(privilegedUser, 7);
    expect([...(after?.capPermitted ?? [])]).toEqual([CAP_SETUID, CAP_SYS_PTRACE]);
  });

  it('makes the memory non-dumpable when the effective id changes, not when nothing changes', () => {
    const root = rootCredentials();
    expect(clearsDumpable(root, credentialsAfterSetuid(root, 1000) ?? root)).toBe(true);
    expect(clearsDumpable(root, credentialsAfterSetuid(root, 0) ?? root)).toBe(false);
    expect(clearsDumpable(user, credentialsAfterSetuid(user, 1000) ?? user)).toBe(false);
  });
});

describe('capability sets', () => {
  it('gives root every capability but those left out', () => {
    const root = rootCredentials([CAP_SYS_RESOURCE]);
    expect(root.capEffective.size).toBe(CAP_LAST_CAP);
    expect(root.capEffective.has(CAP_SYS_RESOURCE)).toBe(false);
  });

  it('orders sets by inclusion', () => {
    expect(isCapabilitySubset(new Set(), new Set([1]))).toBe(true);
    expect(isCapabilitySubset(new Set([1]), new Set())).toBe(false);
    expect(isCapabilitySubset(new Set([1]), new Set([1, 2]))).toBe(true);
  });
});
