/** What a descriptor of a process refers to. */
import { InputError } from '../../base/input-error.ts';
import type { OpenFile } from '../../kernel/process/descriptors.ts';
import type { ProcessContext } from './process-context.ts';

/** A number that is no descriptor is the kernel's to answer (EBADF); something else is a mistake of the program. */
export function checkDescriptor(descriptor: number): void {
  if (Number.isInteger(descriptor)) return;
  const found = typeof descriptor === 'string' ? `'${descriptor}'` : String(descriptor);
  throw new InputError('the descriptor is no whole number', {
    expected: 'what a call gave that opens something, such as yield* u.must(u.memfdCreate())',
    found,
  });
}

/** The open file of a descriptor, if it has one. @throws InputError when the descriptor is no whole number */
export function openFileOf({ task }: ProcessContext, descriptor: number): OpenFile | undefined {
  checkDescriptor(descriptor);
  return task.files.get(descriptor);
}
