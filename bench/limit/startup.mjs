// Prints the milliseconds from before the import of the built package (folder URL given) to the first translation made.
const start = performance.now();
const { PhysicalMemory, x86_64 } = await import(`${process.argv[2]}index.js`);
const memory = new PhysicalMemory();
memory.addRegion(0n, 1n << 20n);
// PML4 at 0x1000 down to a page at 0x5000, all for virtual address 0.
for (let level = 1n; level <= 4n; level++) memory.writeWord(level << 12n, ((level + 1n) << 12n) | 7n);
const mmu = new x86_64.X86Mmu(memory);
mmu.state.cr3Lo = 0x1000;
mmu.updateControls();
if (mmu.translate(0, 0x123, 0) !== 0 || mmu.paLo !== 0x5123)
  throw new Error('the first translation is wrong');
console.log((performance.now() - start).toFixed(2));
