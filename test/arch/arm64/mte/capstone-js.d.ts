/** @alexaltea/capstone-js has no types of its own: what the tests use of it. It is CommonJS. */
declare module '@alexaltea/capstone-js' {
  interface Instruction {
    readonly mnemonic: string;
    readonly op_str: string;
  }
  interface Disassembler {
    /** @throws when the bytes are no instruction */
    disasm(bytes: readonly number[], address: number): readonly Instruction[];
  }
  interface Capstone {
    readonly ARCH_ARM64: number;
    readonly MODE_LITTLE_ENDIAN: number;
    readonly Capstone: new (architecture: number, mode: number) => Disassembler;
  }
  const exported: { readonly default: () => Promise<Capstone> };
  export default exported;
}
