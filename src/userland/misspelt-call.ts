/** A call that is not there, in the words of who looks for it: JavaScript only says that something is not a function. */
import { Share } from './share.ts';
import { nearestName } from './units.ts';
import { User } from './user.ts';
import { Userfaultfd } from './userfaultfd.ts';

/** By what their variables tend to be called. */
const OTHERS = [
  { title: 'Share', of: Share.prototype, variable: /share/i },
  { title: 'Userfaultfd', of: Userfaultfd.prototype, variable: /u(ser)?f(ault)?fd/i },
];

/** `User has no call kvmRaed; did you mean kvmRead?`; null for any other error. */
export function misspeltCall(error: unknown): string | null {
  if (!(error instanceof TypeError)) return null;
  const [, variable, name] = /(\w+)\.(\w+) is not a function$/.exec(error.message) ?? [];
  if (variable === undefined || name === undefined) return null;
  const { title, of } = OTHERS.find((one) => one.variable.test(variable)) ?? {
    title: 'User',
    of: User.prototype,
  };
  const calls = callsOf(of);
  if (calls.includes(name)) return null;
  const near = nearestName(name, calls);
  // A method of something else, as far as anyone can tell.
  if (near === undefined && variable !== 'u') return null;
  return `${title} has no call ${name}${near === undefined ? '' : `; did you mean ${near}?`}`;
}

/** Those of its classes too, down to the first. */
function callsOf(prototype: object): string[] {
  const names: string[] = [];
  for (let at: object = prototype; at !== Object.prototype; at = Object.getPrototypeOf(at) as object) {
    names.push(...Object.getOwnPropertyNames(at).filter((name) => name !== 'constructor'));
  }
  return names;
}
