/** docs/vmas-parameter.md against the diffstat of the series and against the files of this project. */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';

const text = readFileSync('docs/vmas-parameter.md', 'utf8');

/** Diffstat of "[PATCH v4 0/6] remove the vmas parameter from GUP APIs". */
const FILES = [
  'arch/arm64/kernel/mte.c',
  'arch/powerpc/mm/book3s64/iommu_api.c',
  'arch/s390/kvm/interrupt.c',
  'arch/x86/kernel/cpu/sgx/ioctl.c',
  'drivers/gpu/drm/radeon/radeon_ttm.c',
  'drivers/infiniband/hw/qib/qib_user_pages.c',
  'drivers/infiniband/hw/usnic/usnic_uiom.c',
  'drivers/infiniband/sw/siw/siw_mem.c',
  'drivers/iommu/iommufd/pages.c',
  'drivers/media/v4l2-core/videobuf-dma-sg.c',
  'drivers/misc/sgi-gru/grufault.c',
  'drivers/vdpa/vdpa_user/vduse_dev.c',
  'drivers/vfio/vfio_iommu_type1.c',
  'drivers/vhost/vdpa.c',
  'fs/exec.c',
  'include/linux/hugetlb.h',
  'include/linux/mm.h',
  'io_uring/rsrc.c',
  'kernel/events/uprobes.c',
  'mm/gup.c',
  'mm/gup_test.c',
  'mm/hugetlb.c',
  'mm/memory.c',
  'mm/process_vm_access.c',
  'mm/rmap.c',
  'net/xdp/xdp_umem.c',
  'security/tomoyo/domain.c',
  'virt/kvm/async_pf.c',
  'virt/kvm/kvm_main.c',
];

/** Rows of the table of files, as cells. */
const rows = text
  .slice(text.indexOf('## The 29 files'))
  .split('\n')
  .filter((line) => line.startsWith('| `'))
  .map((line) => line.split(' | ').map((cell) => cell.replace(/^\| | \|$/g, '').trim()));

const links = (part: string): string[] =>
  [...part.matchAll(/\]\(([^)]+)\)/g)].map((match) => match[1] as string);

describe('docs/vmas-parameter.md', () => {
  it('has a row for each of the 29 files, in the order of the diffstat', () => {
    expect(FILES).toHaveLength(29);
    expect(rows.map(([file]) => file?.replaceAll('`', ''))).toEqual(FILES);
  });

  it('says of each who called, what became of the VMAs, and where its counterpart is', () => {
    for (const row of rows) {
      expect(row).toHaveLength(4);
      const [file, caller, , here] = row as [string, string, string, string];
      expect({ file, caller: /P[1-6]|all/.test(caller) }).toEqual({ file, caller: true });
      expect({ file, links: links(here).length > 0 }).toEqual({ file, links: true });
    }
  });

  it('links files that are there', () => {
    const all = links(text);
    expect(all.length).toBeGreaterThan(35);
    expect(all.filter((link) => !existsSync(join('docs', link)))).toEqual([]);
  });
});
