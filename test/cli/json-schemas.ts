/** The objects that `--json` prints, as schemas that refuse a field they do not know. */
import { z } from 'zod';

const word = z.string().regex(/^0x[0-9a-f]+$/);
const count = z.int().min(0);
const lines = z.array(z.string());
const counts = z.strictObject({ passed: count, failed: count });

const field = z.strictObject({
  name: z.string(),
  high: count,
  low: count,
  kind: z.enum(['flag', 'number', 'address', 'ignored', 'reserved']),
  meaning: z.string(),
  value: word,
  decoded: z.string().nullable(),
});
const walkStep = z.union([
  z.strictObject({
    kind: z.literal('entry'),
    level: z.int().min(-1).max(5),
    name: z.string(),
    source: z.enum(['memory', 'paging-structure cache']),
    address: word.nullable(),
    value: word,
    form: z.string(),
    summary: z.string(),
    fields: z.array(field),
  }),
  z.strictObject({
    kind: z.enum(['choice', 'update', 'hit', 'rewalk', 'fill', 'flush']),
    level: z.int().min(-1).max(5).nullable(),
    text: z.string(),
  }),
]);
const walk = z.strictObject({
  address: word,
  access: count,
  accessWords: z.string(),
  indices: z.array(z.strictObject({ name: z.string(), index: count })),
  granuleBytes: count,
  registers: z.array(z.strictObject({ name: z.string(), value: word, summary: z.string().nullable() })),
  steps: z.array(walkStep),
  rules: lines,
  outcome: z.union([
    z.strictObject({
      kind: z.literal('translation'),
      physicalAddress: word,
      pageBytes: count,
      memoryType: z.string(),
      memoryTypeRule: z.string(),
    }),
    z.strictObject({
      kind: z.literal('fault'),
      name: z.string(),
      headline: z.string(),
      syndrome: z.strictObject({
        name: z.string(),
        value: word,
        summary: z.string(),
        fields: z.array(field),
      }),
      address: z.strictObject({ name: z.string(), value: word }).nullable(),
    }),
  ]),
});
const outcome = z.union([
  z.strictObject({ kind: z.literal('finished') }),
  z.strictObject({ kind: z.literal('assertion failed'), name: z.string(), text: z.string() }),
  z.strictObject({ kind: z.enum(['step bound', 'interrupted']), text: z.string() }),
]);
const missingTable = z.strictObject({
  start: word,
  end: word,
  table: word,
  namedBy: z.string(),
  level: z.int(),
  entryAddress: word.nullable(),
});

const timeline = z.array(
  z.strictObject({
    kind: z.enum(['step', 'interrupt', 'hardware']),
    cpu: count,
    task: z.string().nullable(),
    operation: z.string(),
    object: z.string(),
    access: z.enum(['read', 'write', 'wait']),
    inside: z.string().nullable(),
    switches: z.boolean(),
    preempts: z.boolean(),
    frames: lines,
    events: z.array(z.looseObject({ kind: z.string() })),
  }),
);

export const explore = z.strictObject({
  title: z.string(),
  arch: z.string(),
  cpus: count,
  search: z.strictObject({
    policy: z.enum(['auto', 'dfs', 'pct', 'random', 'stalling']),
    seed: count,
    preemptions: count.nullable(),
    depth: count,
    reduction: z.boolean(),
    shard: z.strictObject({ index: count, count }),
    maxSteps: count,
    schedule: z.string().nullable(),
  }),
  ended: z.enum(['finding', 'exhausted', 'runs', 'stopped', 'replayed', 'unsupported']),
  runs: count,
  redundant: count,
  distinctStates: count,
  deepest: count,
  slow: count,
  unsupported: z.string().nullable(),
  checks: z.strictObject({ on: lines, off: lines }),
  findings: z.array(
    z.strictObject({
      kind: z.enum(['check', 'assertion', 'deadlock', 'broken invariant', 'livelock', 'program error']),
      name: z.string(),
      text: z.string(),
      rule: z.string().nullable(),
      source: z.string().nullable(),
      objects: lines,
      task: z.string().nullable(),
      waits: z.array(
        z.strictObject({
          task: z.string(),
          cpu: count,
          operation: z.string(),
          object: z.string(),
          holders: z.array(z.strictObject({ name: z.string(), mode: z.string() })),
        }),
      ),
      places: z.array(
        z.strictObject({ task: z.string(), step: count, functions: lines, at: z.string().nullable() }),
      ),
      remark: z.string().nullable(),
      run: count,
      schedule: z.string(),
      command: z.string(),
      steps: count,
      preemptions: count,
      timeline,
    }),
  ),
  replayed: z.strictObject({ schedule: z.string(), timeline }).nullable(),
});

export const run = z.strictObject({
  title: z.string(),
  outcome,
  config: z.strictObject({
    arch: z.literal('x86_64'),
    cpuModel: z.string(),
    levels: count,
    tlbProfile: z.string(),
    cpus: count,
    policy: z.string(),
    seed: count,
    retention: z.string(),
    speculation: z.boolean(),
    profile: z.string(),
  }),
  assertions: count,
  programs: z.array(
    z.strictObject({
      name: z.string(),
      pid: count,
      cpu: count,
      state: z.enum(['running', 'zombie', 'dead']),
      returned: z.boolean(),
      exitStatus: count,
      value: z.unknown(),
      killedBy: z.string().nullable(),
      minFlt: count,
      majFlt: count,
    }),
  ),
  report: z.array(
    z.strictObject({
      heading: z.string(),
      table: z
        .strictObject({
          columns: z.array(
            z.union([z.string(), z.strictObject({ title: z.string(), align: z.enum(['left', 'right']) })]),
          ),
          rows: z.array(z.array(z.union([z.string(), z.number()]))),
        })
        .optional(),
      notes: lines.optional(),
    }),
  ),
  variables: z.record(z.string(), z.unknown()),
  schedule: z.string(),
  steps: count,
  cycles: count,
  cyclesByCpu: z.array(count),
  remoteAccess: z
    .strictObject({
      design: z.string(),
      title: z.string(),
      wrong: z.string().nullable(),
      calls: count,
      bytes: count,
      vmaLookups: count,
      walks: count,
      fallbacks: z.record(z.string(), count),
    })
    .nullable(),
  counters: z.record(z.string(), count),
  events: z.array(z.looseObject({ kind: z.string(), time: count, cpu: count, task: z.string().optional() })),
  remarks: lines,
});
export const verify = z.strictObject({
  files: lines,
  retention: z.string(),
  passed: count,
  failed: count,
  skipped: count,
  unsupported: count,
  unsupportedFeatures: z.record(z.string(), count),
  kinds: z.record(z.string(), counts),
  steps: count,
  tags: z.record(z.string(), counts),
  first: z
    .strictObject({
      id: z.string(),
      file: z.string(),
      line: count,
      step: count,
      steps: count,
      state: lines,
      operation: z.string(),
      mismatches: z.array(z.strictObject({ what: z.string(), expected: z.string(), got: z.string() })),
      walk: walk.nullable(),
    })
    .nullable(),
  failedIds: lines,
  stopped: z.boolean(),
});
export const replay = z.strictObject({
  passed: count,
  failed: count,
  unsupported: count,
  stopped: z.boolean(),
  missing: z.record(z.string(), count),
  traces: z.array(
    z.strictObject({
      id: z.string(),
      rule: z.string(),
      outcome: z.enum(['passed', 'failed', 'unsupported']),
      missing: lines.optional(),
      difference: z
        .strictObject({
          step: count,
          operation: z.string(),
          process: count.optional(),
          field: z.string(),
          expected: lines,
          got: lines,
          notes: lines,
        })
        .optional(),
    }),
  ),
});
export const maps = z.strictObject({
  ranges: z.array(
    z.strictObject({
      start: word,
      end: word,
      size: count,
      user: z.boolean(),
      writable: z.boolean(),
      executable: z.boolean(),
      global: z.boolean(),
      reserved: z.boolean(),
      protectionKey: count,
      patIndex: count,
      memoryType: z.string().nullable(),
      pages: z.strictObject({ '4K': count, '2M': count, '1G': count }),
      accessed: count,
      dirty: count,
      physical: word,
      physicalRuns: count,
    }),
  ),
  leaves: count,
  missing: z.array(missingTable),
});
const permissions = z.strictObject({ read: z.boolean(), write: z.boolean(), execute: z.boolean() });
export const mapsArm64 = z.strictObject({
  ranges: z.array(
    z.strictObject({
      start: word,
      end: word,
      size: count,
      el1: permissions,
      el0: permissions,
      notGlobal: z.boolean(),
      guarded: z.boolean(),
      addressSize: z.boolean(),
      attributeIndex: count,
      attribute: word,
      memoryType: z.string(),
      pages: z.record(z.string().regex(/^\d+[KMGT]( in \d+[KMGT])?$/), count),
      accessed: count,
      dirty: count,
      physical: word,
      physicalRuns: count,
    }),
  ),
  leaves: count,
  missing: z.array(missingTable),
});
export const check = z.strictObject({
  checks: z.array(
    z.strictObject({
      file: z.string(),
      rows: count,
      mappingRows: count,
      pointRows: count,
      agreed: count,
      differing: count,
      unlisted: count,
      differences: z.array(
        z.strictObject({ line: count, virtualAddress: word, expected: z.string(), found: z.string() }),
      ),
      missing: z.array(missingTable),
    }),
  ),
});
export const decode = z.strictObject({
  kind: z.string(),
  title: z.string(),
  value: word,
  fields: z.array(field),
  remarks: lines,
  source: z.string(),
});
export const vectorWalk = z.strictObject({
  id: z.string(),
  step: count,
  steps: count,
  operation: z.string(),
  state: lines,
  recorded: z.string(),
  walk,
});
export const walks = z.strictObject({ walks: z.array(walk) });
export const scenarioWalk = z.strictObject({ outcome, steps: count, walks: z.array(walk) });
export const kinds = z.strictObject({
  kinds: z.array(z.strictObject({ name: z.string(), summary: z.string() })),
});
const designName = z.string().regex(/^[vn]\d$/);
export const bench = z.strictObject({
  arch: z.string(),
  profile: z.string(),
  write: z.boolean(),
  callsOfReader: count,
  alone: z.array(
    z.strictObject({
      design: designName,
      bytes: count,
      write: z.boolean(),
      present: z.boolean(),
      vmas: count,
      moved: count,
      cycles: count,
      atomics: count,
      lines: z.strictObject({
        mmapLock: count,
        vmaRefcount: count,
        pageTableLock: count,
        pageRefcount: count,
        other: count,
      }),
      stepsWithInterruptsOff: count,
      vmaLookups: count,
      walks: count,
      fallbacks: z.record(z.string(), count),
    }),
  ),
  together: z.array(
    z.strictObject({
      design: designName,
      readers: count,
      writer: z.string(),
      calls: count,
      median: count,
      p99: count,
      longest: count,
      callsPerMillion: z.number().positive(),
      writesPerMillion: z.number().nonnegative(),
      writes: count,
    }),
  ),
});
export const protocol = z.strictObject({
  arch: z.string(),
  protocols: z.array(
    z.strictObject({
      design: designName,
      rows: z.strictObject({
        stability: z.string(),
        severalVmas: z.string(),
        absentPage: z.string(),
        writes: z.string(),
        stackGrowth: z.string(),
        device: z.string(),
        deviceWithoutAccess: z.string(),
        hugetlb: z.string(),
        tableLifetime: z.string(),
        atomics: z.string(),
        unrelatedWriter: z.string(),
      }),
      hazards: z.strictObject({
        afterProtNone: z.boolean(),
        foreignPage: z.boolean(),
        deadlock: z.boolean(),
      }),
      contradictions: lines,
    }),
  ),
});
