/** The whole recorded arm64 set, and proof that every comparison can fail. */
import { beforeAll, describe, expect, it } from 'vitest';
import { readJsonLines } from '../../../src/conformance/jsonl.ts';
import { Arm64VectorRunner } from '../../../src/conformance/verify/arm64-runner.ts';
import { verifyVectors } from '../../../src/conformance/verify/verify.ts';

const FILE = new URL('../../vectors/arm64.jsonl.gz', import.meta.url).pathname;

const LABELS = [
  'start-1',
  'level0block',
  'fault:translation:-1',
  'fault:pcAlignment',
  'fault:tagCheck',
  'qemuDiffers',
  'crossPage',
  'afOnFaultUnpredictable',
  'atOnly',
  's1pie',
  'stgp',
  'rvae1',
];

describe.each(['profile', 'adversarial', 'none'] as const)('TLB retention %s', (retention) => {
  it('passes all 26,018 recorded vectors of five kinds', async () => {
    const result = await verifyVectors([FILE], { retention });
    expect(result.failedIds).toEqual([]);
    expect(result.first).toBeNull();
    expect(result).toMatchObject({ passed: 26_018, failed: 0, stopped: false });
    expect(Object.fromEntries(result.kinds)).toEqual({
      translations: { passed: 20_000, failed: 0 },
      'permission indirections': { passed: 994, failed: 0 },
      'MTE accesses': { passed: 2_494, failed: 0 },
      'MTE instructions': { passed: 1_530, failed: 0 },
      'TLB sequences': { passed: 1_000, failed: 0 },
    });
    for (const label of LABELS) expect(result.tags.get(label)?.passed, label).toBeGreaterThan(0);
  });
});

type Json = Record<string, unknown>;
type Pairs = [string, string][];

interface Recorded extends Json {
  id: string;
  kind?: string;
  cpu: Record<string, string | number>;
  memory: Pairs;
  access: Json;
  expect: Json;
  at?: Record<string, string>;
  memoryAfter: Pairs;
  memoryMay?: Pairs;
  labels: string[];
  steps: Json[];
  regsAfter: Record<string, string>;
  mteTags: [string, number][];
  mteTagsAfter: [string, number][];
  dataAfter: [string, string];
}

let vectors: Recorded[] = [];
beforeAll(async () => {
  vectors = [];
  for await (const { value } of readJsonLines(FILE)) vectors.push(value as Recorded);
});

const runner = new Arm64VectorRunner('profile');
const place = { file: 'x', line: 1 };
const flip = (text: unknown, bit: bigint): string =>
  `0x${(BigInt(text as string) ^ (1n << bit)).toString(16)}`;
const fault = ({ expect: outcome }: Recorded): Json | undefined => outcome?.['fault'] as Json | undefined;
const has = (label: string) => (vector: Recorded) => vector.labels.includes(label);
const isInstruction = ({ kind }: Recorded): boolean => kind === 'mteInsn';
const isAccess = ({ kind }: Recorded): boolean => kind === undefined;
const succeeds = (vector: Recorded): boolean => isAccess(vector) && vector.expect['pa'] !== undefined;
const aborts = (vector: Recorded): boolean => isAccess(vector) && fault(vector) !== undefined;

interface Spoiling {
  readonly name: string;
  readonly of: (vector: Recorded) => boolean;
  readonly spoil: (vector: Recorded) => void;
  /** What has to be reported as different. */
  readonly what: RegExp;
  /** How many there are at least, and are tried at most 40. */
  readonly least?: number;
}

const ESR_BITS = [0n, 1n, 2n, 5n, 6n, 8n, 25n, 26n, 37n];

const SPOILED: readonly Spoiling[] = [
  ...[0n, 2n, 12n, 40n, 51n].map((bit) => ({
    name: `bit ${bit} of the physical address`,
    of: succeeds,
    spoil: ({ expect: outcome }: Recorded) => {
      outcome['pa'] = flip(outcome['pa'], bit);
    },
    what: /^outcome/,
  })),
  {
    name: 'a fault in place of an address',
    of: succeeds,
    spoil: (vector) => {
      vector.expect = { ...vector.expect, pa: undefined, fault: { esr: '0x96000007', far: '0x0' } };
    },
    what: /^outcome/,
  },
  {
    name: 'an address in place of a fault',
    of: aborts,
    spoil: (vector) => {
      vector.expect = { ...vector.expect, fault: undefined, pa: '0x1000' };
    },
    what: /^outcome/,
  },
  ...ESR_BITS.map((bit) => ({
    name: `bit ${bit} of ESR_EL1`,
    of: aborts,
    spoil: (vector: Recorded) => {
      (fault(vector) as Json)['esr'] = flip(fault(vector)?.['esr'], bit);
    },
    what: /^outcome/,
  })),
  ...[0n, 3n, 55n, 56n, 63n].map((bit) => ({
    name: `bit ${bit} of FAR_EL1`,
    of: aborts,
    spoil: (vector: Recorded) => {
      (fault(vector) as Json)['far'] = flip(fault(vector)?.['far'], bit);
    },
    what: /^outcome/,
  })),
  {
    name: 'FAR_EL1 of a tag check fault: its tag',
    of: (vector) => has('fault:tagCheck')(vector) && fault(vector)?.['farUnspecified'] !== true,
    spoil: (vector) => {
      (fault(vector) as Json)['far'] = flip(fault(vector)?.['far'], 57n);
    },
    what: /^outcome/,
  },
  ...[0n, 7n, 8n, 13n, 51n, 56n, 63n].map((bit) => ({
    name: `bit ${bit} of PAR_EL1 beside the access`,
    of: (vector: Recorded) => succeeds(vector) && vector.expect['par'] !== undefined,
    spoil: (vector: Recorded) => {
      vector.expect['par'] = flip(vector.expect['par'], bit);
    },
    what: /^PAR_EL1$/,
  })),
  ...['s1e1r', 's1e1w', 's1e0r', 's1e0w', 's1e1rp', 's1e1wp'].map((name) => ({
    name: `PAR_EL1 of AT ${name}`,
    of: (vector: Recorded) => vector.at?.[name] !== undefined,
    spoil: ({ at }: Recorded) => {
      if (at !== undefined) at[name] = flip(at[name], 4n);
    },
    what: new RegExp(`^AT ${name.toUpperCase()}$`),
  })),
  {
    name: 'where the second page is',
    of: (vector) => vector['pa2'] !== undefined,
    spoil: (vector) => {
      vector['pa2'] = flip(vector['pa2'], 12n);
    },
    what: /^(data at|bytes read)/,
  },
  {
    name: 'an update that is not expected',
    of: (vector) => isAccess(vector) && vector.memoryAfter.length > 0,
    spoil: (vector) => {
      vector.memoryAfter.pop();
    },
    what: /^entry 0x/,
  },
  {
    name: 'an update that is expected and not made',
    of: (vector) =>
      isAccess(vector) && vector.memoryAfter.length === 0 && vector['memoryAfterUnpredictable'] !== true,
    spoil: (vector) => {
      vector.memoryAfter.push(['0x100000', '0x400']);
    },
    what: /^entry 0x100000/,
  },
  {
    name: 'another value of an updated descriptor',
    of: (vector) => isAccess(vector) && vector.memoryAfter.length > 0,
    spoil: ({ memoryAfter: [first] }) => {
      (first as [string, string])[1] = flip((first as [string, string])[1], 60n);
    },
    what: /^entry 0x/,
  },
  ...(['tfsr', 'tfsre0'] as const).flatMap((name) =>
    [0n, 1n].map((bit) => ({
      name: `bit ${bit} of ${name}`,
      of: has('mte'),
      spoil: (vector: Recorded) => {
        vector.expect[name] = flip(vector.expect[name], bit);
      },
      what: new RegExp(`^${name.toUpperCase()}_EL1$`),
    })),
  ),
  ...['x0', 'x3', 'x7', 'sp'].map((name) => ({
    name: `register ${name} after an instruction`,
    of: isInstruction,
    spoil: ({ regsAfter }: Recorded) => {
      regsAfter[name] = flip(regsAfter[name], 56n);
    },
    what: new RegExp(`^${name}$`),
  })),
  ...[0n, 8n, 23n].map((bit) => ({
    name: `bit ${bit} of RGSR_EL1 after an instruction`,
    of: isInstruction,
    spoil: (vector: Recorded) => {
      vector['rgsrAfter'] = flip(vector['rgsrAfter'], bit);
    },
    what: /^RGSR_EL1$/,
  })),
  ...[0, 1, 2, 3].map((bit) => ({
    name: `flag ${bit} after SUBPS`,
    of: (vector: Recorded) => vector['nzcvAfter'] !== undefined,
    spoil: (vector: Recorded) => {
      vector['nzcvAfter'] = (vector['nzcvAfter'] as number) ^ (1 << bit);
    },
    what: /^NZCV$/,
  })),
  {
    name: 'a tag after an instruction',
    of: (vector) => isInstruction(vector) && vector.mteTagsAfter.length > 0,
    spoil: ({ mteTagsAfter }) => {
      (mteTagsAfter[5] as [string, number])[1] ^= 4;
    },
    what: /^tag of 0x/,
  },
  {
    name: 'data after an instruction',
    of: (vector) => isInstruction(vector) && vector.dataAfter !== undefined,
    spoil: ({ dataAfter }) => {
      dataAfter[1] = `${dataAfter[1].slice(0, -1)}${dataAfter[1].endsWith('1') ? 'e' : '1'}`;
    },
    what: /^data at 0x/,
  },
  {
    name: 'an instruction that is said to be another',
    of: isInstruction,
    spoil: (vector) => {
      vector['insn'] = 'irgx';
    },
    what: /^instruction$/,
  },
  {
    name: 'a fault of an instruction',
    of: (vector) => isInstruction(vector) && fault(vector) !== undefined,
    spoil: (vector) => {
      (fault(vector) as Json)['esr'] = flip(fault(vector)?.['esr'], 0n);
    },
    what: /^outcome/,
  },
  {
    name: 'an instruction that should have faulted',
    of: (vector) => isInstruction(vector) && vector.expect['ok'] === true,
    spoil: (vector) => {
      vector.expect = { fault: { esr: '0x96000061', far: '0x0' } };
    },
    what: /^outcome/,
  },
];

describe('a recorded answer that is spoiled makes the vector fail', () => {
  it.each(SPOILED)('$name', ({ of, spoil, what, least = 10 }) => {
    const chosen = vectors.filter(of).slice(0, 40);
    expect(chosen.length).toBeGreaterThanOrEqual(least);
    for (const vector of chosen) {
      const spoiled = structuredClone(vector);
      spoil(spoiled);
      const { difference } = runner.run(spoiled, place);
      const found = difference?.mismatches.map((mismatch) => mismatch.what) ?? [];
      expect(
        found.some((name) => what.test(name)),
        `${vector.id}: ${found.join()}`,
      ).toBe(true);
    }
  });

  it('and the ones before and after it pass', () => {
    const [first, second] = vectors.filter(succeeds) as [Recorded, Recorded];
    const spoiled = structuredClone(first);
    spoiled.expect['pa'] = '0x12345000';
    expect(runner.run(first, place).difference).toBeNull();
    expect(runner.run(spoiled, place).difference).not.toBeNull();
    expect(runner.run(second, place).difference).toBeNull();
  });
});

describe('what the vectors leave open', () => {
  it.each([9n, 10n])('bit %s of PAR_EL1 is not compared', (bit) => {
    for (const vector of vectors.filter(({ at }) => at !== undefined).slice(0, 40)) {
      const spoiled = structuredClone(vector);
      for (const name of Object.keys(spoiled.at ?? {})) {
        if (spoiled.at !== undefined) spoiled.at[name] = flip(spoiled.at[name], bit);
      }
      expect(runner.run(spoiled, place).difference, vector.id).toBeNull();
    }
  });

  it('FAR_EL1 where it is unspecified', () => {
    const open = vectors.filter((vector) => fault(vector)?.['farUnspecified'] === true).slice(0, 20);
    expect(open.length).toBeGreaterThan(10);
    for (const vector of open) {
      const spoiled = structuredClone(vector);
      (fault(spoiled) as Json)['far'] = '0x123';
      expect(runner.run(spoiled, place).difference, vector.id).toBeNull();
    }
  });

  it('the Access flag of a leaf whose access is denied, where memoryAfterUnpredictable says so', () => {
    const open = vectors.filter((vector) => vector['memoryAfterUnpredictable'] === true);
    expect(open.length).toBeGreaterThan(300);
    for (const vector of open.slice(0, 60)) expect(runner.run(vector, place).difference).toBeNull();
  });
});

describe('registers and memory that are spoiled change the outcome', () => {
  const failures = (of: (vector: Recorded) => boolean, spoil: (vector: Recorded) => void): number => {
    const chosen = vectors.filter(of).slice(0, 60);
    expect(chosen.length).toBeGreaterThan(10);
    return chosen.filter((vector) => {
      const spoiled = structuredClone(vector);
      spoil(spoiled);
      return runner.run(spoiled, place).difference !== null;
    }).length;
  };

  it.each([
    ['MAIR_EL1', ['mair'], (value: bigint) => value ^ 0xffff_ffff_ffff_ffffn],
    ['TCR_EL1.IPS', ['tcr'], (value: bigint) => value & ~0x7_0000_0000n],
    ['TCR_EL1.T0SZ and T1SZ', ['tcr'], (value: bigint) => value ^ 0x1_0001n],
    ['TTBR0_EL1 and TTBR1_EL1', ['ttbr0', 'ttbr1'], (value: bigint) => value ^ 0x10_0000n],
  ] as const)('%s', (_, registers, turned) => {
    const failed = failures(succeeds, ({ cpu }) => {
      for (const name of registers) cpu[name] = `0x${turned(BigInt(cpu[name] as string)).toString(16)}`;
    });
    expect(failed).toBeGreaterThan(10);
  });

  it('PSTATE.TCO, where a tag check fault was recorded', () => {
    const failed = failures(has('fault:tagCheck'), ({ cpu }) => {
      cpu['tco'] = 1;
    });
    expect(failed).toBeGreaterThan(50);
  });

  it('the tags of memory, where an access passed its check', () => {
    const checked = (vector: Recorded): boolean =>
      has('mte')(vector) &&
      has('tcf1')(vector) &&
      has('el1')(vector) &&
      succeeds(vector) &&
      has('tbi')(vector);
    const failed = failures(checked, ({ mteTags }) => {
      for (const pair of mteTags) pair[1] ^= 8;
    });
    expect(failed).toBeGreaterThan(5);
  });
});

describe('sequences', () => {
  const sequences = (label: string): Recorded[] =>
    vectors.filter((vector) => vector.kind === 'tlbSeq' && vector.labels.includes(label));

  it.each(['remap', 'unmap', 'perm-down', 'vae1', 'table-change', 'aside1', 'vmalle1', 'rvae1'])(
    'of %s without their TLBI meet stale translations under adversarial retention',
    (label) => {
      const adversarial = new Arm64VectorRunner('adversarial');
      const chosen = label === 'vae1' ? sequences('vale1') : sequences(label);
      const stale = chosen.filter((vector) => {
        const spoiled = structuredClone(vector);
        spoiled.steps = spoiled.steps.filter((step) => step['op'] !== 'tlbi');
        return adversarial.run(spoiled, place).difference !== null;
      });
      expect(chosen.length).toBeGreaterThan(20);
      expect(stale.length).toBeGreaterThan(chosen.length / 2);
    },
  );

  it('whose DSB is left out meet them too', () => {
    const adversarial = new Arm64VectorRunner('adversarial');
    const chosen = sequences('unmap');
    const stale = chosen.filter((vector) => {
      const spoiled = structuredClone(vector);
      spoiled.steps = spoiled.steps.filter((step) => step['op'] !== 'dsbIsb');
      return adversarial.run(spoiled, place).difference !== null;
    });
    expect(stale.length).toBeGreaterThan(chosen.length / 2);
  });

  it('leave nothing behind: a vector gives the same alone and after all the others', () => {
    const reversed = new Arm64VectorRunner('profile');
    const order = [...vectors].reverse();
    expect(order.filter((vector) => reversed.run(vector, place).difference !== null)).toEqual([]);
  });
});
