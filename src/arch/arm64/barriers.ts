/**
 * DSB by its option: which completed TLBI instructions it waits for. ISB and the other context synchronization events
 * are in shareability-domain.ts. Left out: ordering of memory accesses, as memory here is sequentially consistent.
 * @see Arm ARM (DDI 0487), "Ordering and completion of TLB maintenance instructions"
 */
import { InputError } from '../../base/input-error.ts';
import type { Shareability, TlbiOperation } from './tlbi.ts';

export interface DataSynchronizationBarrier {
  /** As the assembler writes it: `ISH`, `ISHST`, `SYnXS`. */
  readonly name: string;
  readonly domain: Shareability | 'SY';
  /** The accesses it is for; only one that is for loads and stores completes a TLBI. */
  readonly accesses: 'all' | 'loads' | 'stores';
  /** Does not wait for accesses with the XS attribute: completes only nXS forms (FEAT_XS). */
  readonly nXS: boolean;
}

const DOMAIN_NAMES = { NSH: 'NSH', ISH: 'ISH', OSH: 'OSH', SY: 'SY' } as const;

function makeBarriers(): ReadonlyMap<string, DataSynchronizationBarrier> {
  const barriers = new Map<string, DataSynchronizationBarrier>();
  const add = (barrier: DataSynchronizationBarrier): void => {
    barriers.set(barrier.name.toLowerCase(), barrier);
  };
  for (const domain of Object.values(DOMAIN_NAMES)) {
    const stem = domain === 'SY' ? '' : domain;
    add({ name: domain, domain, accesses: 'all', nXS: false });
    add({ name: `${stem}LD`, domain, accesses: 'loads', nXS: false });
    add({ name: `${stem}ST`, domain, accesses: 'stores', nXS: false });
    add({ name: `${domain}nXS`, domain, accesses: 'all', nXS: true });
  }
  return barriers;
}

const byName = makeBarriers();

/** @param name in any case: `ish`, `ISHST` @throws InputError when there is no such option */
export function barrierNamed(name: string): DataSynchronizationBarrier {
  const found = byName.get(name.toLowerCase());
  if (found !== undefined) return found;
  throw new InputError('no such DSB option', {
    expected: [...byName.values()].map((barrier) => barrier.name).join(', '),
    found: `'${name}'`,
  });
}

const REACH: Readonly<Record<Shareability | 'SY', number>> = { NSH: 0, ISH: 1, OSH: 2, SY: 2 };

/**
 * Does the barrier complete such an instruction, issued before it by the same CPU? Its domain has to be at least that of
 * the instruction; one without nXS is not completed by a barrier with it.
 */
export function completes(barrier: DataSynchronizationBarrier, operation: TlbiOperation): boolean {
  if (barrier.accesses !== 'all' || (barrier.nXS && !operation.nXS)) return false;
  return REACH[barrier.domain] >= REACH[operation.shareability];
}

/** Are earlier stores to tables visible to the walks of all CPUs of the Inner Shareable domain after it? */
export const isVisibleToWalkers = (barrier: DataSynchronizationBarrier): boolean =>
  barrier.accesses !== 'loads' && REACH[barrier.domain] >= REACH.ISH;
