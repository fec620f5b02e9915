/**
 * How each design locks, row by row, every word of it from runs on small machines: what a read or a write held at each copy
 * and at each look into a page table, what it counted, what came of it beside a writer.
 */

import type { KernelConfig } from '../../../kernel/kernel.ts';
import type { DesignServes } from '../../../kernel/remote/design.ts';
import type { DesignName } from '../../../kernel/remote/design-names.ts';
import { designNamed } from '../../../kernel/remote/designs/registry.ts';
import type { SystemArchitecture } from '../../system.ts';
import {
  absentText,
  readAbsentPage,
  writeAbsentPageBesideWriter,
  writePresentPage,
  writeSharedPage,
  writesText,
} from './absent-and-written.ts';
import { besideWriterText, readBesideWriter } from './beside-writer.ts';
import { contradictions } from './claims.ts';
import { findHazards, type Hazards } from './hazards.ts';
import { ProtocolMachine } from './machine.ts';
import { readSeveralVmas, severalVmasText } from './several-vmas.ts';
import {
  deviceText,
  growthText,
  hugetlbText,
  readBelowStack,
  readDevice,
  readHugetlb,
} from './special-memory.ts';
import { atomicsText, readPresentPages, stabilityText, tableLifetimeText } from './steady.ts';

/** What can go wrong, and its title. */
export const HAZARD_ROWS = {
  afterProtNone: 'shows what was stored after mprotect(PROT_NONE) had returned',
  foreignPage: 'shows a page that was given back and is another one now',
  deadlock: 'waits for a writer that waits for it',
} as const satisfies Record<keyof Hazards, string>;

/** The rows, and their titles. */
export const PROTOCOL_ROWS = {
  stability: 'the VMA is kept by',
  severalVmas: 'read over several VMAs',
  absentPage: 'absent page',
  writes: 'writes',
  stackGrowth: 'stack growth',
  device: 'VM_IO, VM_PFNMAP',
  deviceWithoutAccess: 'the same without vm_ops->access',
  hugetlb: 'hugetlb',
  tableLifetime: 'page tables are kept by',
  atomics: 'atomics on shared lines, of a call',
  unrelatedWriter: 'held up by a writer of another VMA',
} as const;
export type ProtocolRow = keyof typeof PROTOCOL_ROWS;

export interface DesignProtocol {
  readonly design: DesignName;
  readonly rows: Readonly<Record<ProtocolRow, string>>;
  readonly hazards: Hazards;
  /** What it says of itself and did not do. */
  readonly contradictions: readonly (keyof DesignServes)[];
}

/** A generator that stops after each design; `next(true)` ends it with what there is. */
export function* lockProtocolExperiment(
  architecture: SystemArchitecture,
  designs: readonly DesignName[],
): Generator<number, readonly DesignProtocol[], boolean> {
  const protocols: DesignProtocol[] = [];
  for (const design of designs) {
    protocols.push(lockProtocolOf(architecture, design));
    if (yield protocols.length) break;
  }
  return protocols;
}

export function lockProtocolOf(architecture: SystemArchitecture, design: DesignName): DesignProtocol {
  const make = (kernel: Partial<KernelConfig> = {}): ProtocolMachine =>
    new ProtocolMachine(architecture, design, kernel);
  const present = readPresentPages(make());
  const several = readSeveralVmas(make);
  const absent = readAbsentPage(make());
  const written = writePresentPage(make());
  const growth = readBelowStack(make());
  const device = readDevice(make(), true);
  const hugetlb = readHugetlb(make({ hugepages2M: 1 }));
  return {
    design,
    rows: {
      stability: stabilityText(present.twoPages, growth),
      severalVmas: severalVmasText(several),
      absentPage: absentText(absent, writeAbsentPageBesideWriter(make())),
      writes: writesText(written, writeSharedPage(make())),
      stackGrowth: growthText(growth),
      device: deviceText(device),
      deviceWithoutAccess: deviceText(readDevice(make(), false)),
      hugetlb: hugetlbText(hugetlb),
      tableLifetime: tableLifetimeText(present.twoPages.footprint),
      atomics: atomicsText(present),
      unrelatedWriter: besideWriterText(readBesideWriter(make)),
    },
    hazards: findHazards(make),
    contradictions: contradictions(designNamed(design), {
      reads: present.twoPages,
      writes: written,
      absentPages: absent.access,
      stackGrowth: growth,
      hugetlb,
      pfnmap: device,
      multiVma: several.word,
    }),
  };
}
