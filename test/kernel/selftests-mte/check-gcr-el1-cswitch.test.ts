/**
 * The case of Linux's tools/testing/selftests/arm64/mte/check_gcr_el1_cswitch.c. There, threads of many processes set
 * random control words and read them back while the scheduler switches between them; here they are processes, since a
 * process has one thread, and what IRG gives is looked at too.
 */
import { expect, it } from 'vitest';
import { SeededRandom } from '../../../src/base/random.ts';
import { type MteProcess, mteProcess, mteSystem, tagOf } from './mte-process.ts';

const ROUNDS = 200;

interface Own {
  readonly process: MteProcess;
  readonly control: number;
  readonly include: number;
}

it.each([1, 2])('Verify that GCR_EL1 is set correctly on context switch (processes on %i CPUs)', (cpus) => {
  const random = new SeededRandom(cpus);
  const system = mteSystem(cpus);
  const own: Own[] = [];
  for (let i = 0; i < 5; i++) {
    const process = mteProcess(system, i % cpus);
    const include = random.below(0xffff) + 1;
    const control = 1 | (include % 2 === 1 ? 2 : 4) | (include << 3);
    process.setControl(control);
    own.push({ process, control, include });
  }
  for (let round = 0; round < ROUNDS; round++) {
    const { process, control, include } = own[random.below(own.length)] as Own;
    expect(process.control).toBe(control);
    expect((include >>> tagOf(process.irg(0x1000n))) & 1).toBe(1);
  }
});
