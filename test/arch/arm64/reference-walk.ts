/**
 * The walk of VMSAv8-64 said a second time, with bigints and without any thought of speed, for an EL0 read: what the
 * property test of the walker holds it against. It shares nothing with the code under test.
 * @see Arm ARM (DDI 0487), "Translation table walk", "VMSAv8-64 descriptor formats"
 */
export interface ReferenceRegisters {
  readonly granule: 12 | 14 | 16;
  readonly txsz: number;
  /** TCR_EL1.DS as far as it has an effect. */
  readonly ds: boolean;
  readonly outputBits: number;
  readonly ha: boolean;
  readonly hpd: boolean;
  readonly root: bigint;
}

const bitsOf = (word: bigint, high: number, low: number): bigint =>
  (word >> BigInt(low)) & ((1n << BigInt(high - low + 1)) - 1n);

/** The address in a descriptor, its bits from `lowest` up. */
function addressIn(word: bigint, { granule, ds }: ReferenceRegisters, lowest: number): bigint {
  const top = ds ? 49 : 47;
  let address = lowest > top ? 0n : bitsOf(word, top, lowest) << BigInt(lowest);
  if (ds) address |= bitsOf(word, 9, 8) << 50n;
  if (granule === 16) address |= bitsOf(word, 15, 12) << 48n;
  return (address >> BigInt(lowest)) << BigInt(lowest);
}

/** A descriptor that is no table, at `level`, which maps 2^shift bytes. */
function endOfWalk(registers: ReferenceRegisters, va: bigint, word: bigint, level: number, noEl0: boolean) {
  const { granule, ds, outputBits } = registers;
  const shift = granule + (3 - level) * (granule - 3);
  const blocks = { 12: ds ? [0, 1, 2] : [1, 2], 14: ds ? [1, 2] : [2], 16: [1, 2] }[granule];
  const form = word & 3n;
  const mapped = level === 3 ? form === 3n : form === 1n && blocks.includes(level);
  if (!mapped) return `Translation fault, level ${level}`;
  const base = addressIn(word, registers, shift);
  if (base >> BigInt(outputBits)) return `Address size fault, level ${level}`;
  if (!bitsOf(word, 10, 10) && !registers.ha) return `Access flag fault, level ${level}`;
  if (noEl0 || !bitsOf(word, 6, 6)) return `Permission fault, level ${level}`;
  return base | bitsOf(va, shift - 1, 0);
}

/** @returns the output address of an EL0 read, or the words of the fault */
export function referenceWalk(
  registers: ReferenceRegisters,
  va: bigint,
  read: (address: bigint) => bigint,
): bigint | string {
  const { granule, txsz, ds, outputBits, hpd } = registers;
  const inputBits = 64 - txsz;
  if (txsz < (ds || granule === 16 ? 12 : 16)) return 'Translation fault, level 0';
  const perLevel = granule - 3;
  let level = 3;
  for (let covered = granule + perLevel; covered < inputBits; covered += perLevel) level--;
  let table = registers.root;
  for (let noEl0 = false; ; level++) {
    const shift = granule + (3 - level) * perLevel;
    const word = read(table + bitsOf(va, Math.min(shift + perLevel, inputBits) - 1, shift) * 8n);
    if (level === 3 || (word & 3n) !== 3n) return endOfWalk(registers, va, word, level, noEl0);
    table = addressIn(word, registers, granule);
    if (table >> BigInt(outputBits)) return `Address size fault, level ${level}`;
    noEl0 ||= !hpd && bitsOf(word, 61, 61) === 1n;
  }
}
