/**
 * Properties are checked with the same random values in every run, so that a failure is of the change that was made. Others
 * are looked for with `SEED=5`; a test that names a seed of its own keeps it.
 */
import fc from 'fast-check';

const DEFAULT_SEED = 1;

const seed = Number(process.env['SEED'] ?? DEFAULT_SEED);
if (!Number.isInteger(seed)) throw new Error(`SEED: expected an integer, found '${process.env['SEED']}'`);
fc.configureGlobal({ seed });
