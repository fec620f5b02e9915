/** Memory below a stack, of devices and of hugetlb pools. */
import { DeviceFile } from '../../../kernel/mm/device-file.ts';
import { MAP_GROWSDOWN, MAP_HUGETLB, MAP_PRIVATE, MAP_SHARED } from '../../../kernel/mm/mman.ts';
import { type Access, addressOf, type ProtocolMachine, WORD_BYTES } from './machine.ts';
import { mannerOf, mannerText } from './manner.ts';

const STACK = 2048;
const HUGE_PAGES = 512;

/** Four pages below a stack: it has to grow. */
export function readBelowStack(machine: ProtocolMachine): Access {
  machine.map(STACK, 2, MAP_PRIVATE | MAP_GROWSDOWN);
  machine.fill(STACK, 2);
  return machine.access(addressOf(STACK - 4), WORD_BYTES);
}

export function growthText(access: Access): string {
  return access.moved === WORD_BYTES ? mannerText(access, 'yes') : 'not read';
}

/** Memory of a device, VM_IO | VM_PFNMAP, whose driver lets debuggers at it, or not. */
export function readDevice(machine: ProtocolMachine, withAccess: boolean): Access {
  const { kernel } = machine.system;
  const file = new DeviceFile(kernel, { pages: 2, fill: 'remap', access: withAccess, noncached: false });
  machine.mapFile(0, 2, file, MAP_SHARED);
  return machine.access(addressOf(0), WORD_BYTES);
}

export function deviceText(access: Access): string {
  if (access.moved === WORD_BYTES) return mannerText(access, 'by the access operation');
  const nothing = `${access.moved} bytes`;
  return mannerOf(access) === 'today' ? nothing : `${mannerText(access, '')}, ${nothing}`;
}

export function readHugetlb(machine: ProtocolMachine): Access {
  machine.map(0, HUGE_PAGES, MAP_PRIVATE | MAP_HUGETLB);
  machine.fill(0, 1);
  return machine.access(addressOf(1), WORD_BYTES);
}

export function hugetlbText(access: Access): string {
  if (access.moved !== WORD_BYTES) return 'not read';
  return mannerText(access, 'GUP under the VMA lock', 'GUP');
}
