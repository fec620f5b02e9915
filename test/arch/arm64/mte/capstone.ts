/** The second disassembler, for comparison: Capstone 5 in WebAssembly. */
import capstoneModule from '@alexaltea/capstone-js';

/** Gives the text of a 32-bit word, or null where Capstone knows no instruction. */
export async function openCapstone(): Promise<(word: number) => string | null> {
  const capstone = await capstoneModule.default();
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
