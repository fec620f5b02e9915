/** `npm run bench -- NAME`: runs one of the benches of this folder. */
import { explorer } from './explore.ts';
import { limit } from './limit/index.ts';
import { mm } from './mm.ts';
import { remote } from './remote-read.ts';
import { verify } from './verify.ts';

const BENCHES: Readonly<Record<string, () => number | Promise<number>>> = {
  explore: explorer,
  limit,
  mm,
  remote,
  verify,
};

const name = process.argv[2] ?? '';
const bench = Object.hasOwn(BENCHES, name) ? BENCHES[name] : undefined;
if (bench === undefined) {
  console.error(
    `bench: expected one of ${Object.keys(BENCHES).join(', ')}; for example: npm run bench -- limit`,
  );
  process.exitCode = 2;
} else {
  process.exitCode = await bench();
}
