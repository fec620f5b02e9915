/**
 * The second disassembler, for comparison: Capstone 5 in WebAssembly. It has no types of its own.
 */
import { createRequire } from 'node:module';

interface Instruction {
  readonly mnemonic: string;
  readonly op_str: string;
}
interface Disassembler {
  disasm(bytes: readonly number[], address: number): readonly Instruction[];
  close(): void;
}
interface Capstone {
  readonly ARCH_ARM64: number;
  readonly MODE_LITTLE_ENDIAN: number;
  readonly Capstone: new (architecture: number, mode: number) => Disassembler;
}

/** Gives the text of a 32-bit word, or null where Capstone knows no instruction. */
export async function openCapstone(): Promise<(word: number) => string | null> {
  const module = createRequire(import.meta.url)('@alexaltea/capstone-js') as {
    readonly default: () => Promise<Capstone>;
  };
  const capstone = await module.default();
  const disassembler = new capstone.Capstone(capstone.ARCH_ARM64, capstone.MODE_LITTLE_ENDIAN);
  return (word) => {
    const bytes = [word & 255, (word >>> 8) & 255, (word >>> 16) & 255, word >>> 24];
    try {
      const [instruction] = disassembler.disasm(bytes, 0);
      return instruction === undefined ? null : `${instruction.mnemonic} ${instruction.op_str}`;
    } catch {
      return null;
    }
  };
}
