// Who may import whom: docs/decisions/0002-layers.md. A folder may always import itself; `src/arch/[^/]+$` means
// the seam files, not the two architectures.
const seam = 'src/arch/[^/]+$';
const may = {
  'src/base': [],
  'src/hardware': ['src/base'],
  'src/arch/x86_64': ['src/base', 'src/hardware', seam],
  'src/arch/arm64': ['src/base', 'src/hardware', seam],
  'src/sched': ['src/base', 'src/hardware'],
  'src/kernel/lock': ['src/base', 'src/sched', 'src/kernel/errno'],
  'src/kernel/frame': ['src/base', 'src/hardware', 'src/kernel/(lock|errno)'],
  'src/kernel': ['src/base', 'src/hardware', seam, 'src/sched'],
  'src/check': ['src/base', 'src/hardware', seam, 'src/sched', 'src/kernel'],
  'src/userland': ['src/base', 'src/hardware', seam, 'src/sched', 'src/kernel', 'src/check'],
  'src/conformance': ['src/base', 'src/hardware', 'src/arch', 'src/sched', 'src/kernel', 'src/userland'],
  'src/report': ['src/base', 'src/hardware', 'src/arch', 'src/sched', 'src/userland', 'src/conformance'],
  'src/sweep': ['src/base', 'src/userland', 'src/report'],
};
const layer = ([from, to]) => ({
  name: `${from.slice(4)}-imports-downward`,
  severity: 'error',
  from: { path: `^${from}/` },
  to: { path: '^src/', pathNot: [`^${from}/`, ...to.map((p) => `^${p}`)] },
});
const only = (name, pkg, file) => ({
  name,
  severity: 'error',
  from: { path: '^src', pathNot: file },
  to: { path: `node_modules/${pkg}` },
});
const kernelOrder = (from, later) => ({
  name: `kernel-${from}-below-${later.replace(/[()]/g, '').replaceAll('|', '-')}`,
  severity: 'error',
  from: { path: `^src/kernel/${from}/` },
  to: { path: `^src/kernel/${later}/` },
});
module.exports = {
  forbidden: [
    { name: 'no-cycles', severity: 'error', from: {}, to: { circular: true, viaOnly: { dependencyTypesNot: ['type-only'] } } },
    ...Object.entries(may).map(layer),
    {
      name: 'seam-knows-no-architecture',
      severity: 'error',
      from: { path: '^src/arch/[^/]+$', pathNot: '^src/arch/registry' },
      to: { path: '^src/', pathNot: ['^src/base/', '^src/hardware/', '^src/arch/[^/]+$'] },
    },
    {
      name: 'registry-knows-architectures-only',
      severity: 'error',
      from: { path: '^src/arch/registry' },
      to: { path: '^src/', pathNot: ['^src/(base|hardware|arch)/'] },
    },
    {
      name: 'kernel-does-not-pick-an-architecture',
      severity: 'error',
      from: { path: '^src/(kernel|check|userland)/' },
      to: { path: '^src/arch/(registry|x86_64|arm64)' },
    },
    kernelOrder('mm', '(gup|remote|consumers)'),
    kernelOrder('gup', '(remote|consumers)'),
    kernelOrder('remote', 'consumers'),
    {
      name: 'legacy-vmas-in-demonstrations-only',
      severity: 'error',
      from: {
        path: '^src',
        pathNot: ['^src/kernel/consumers/legacy-vmas-driver', '^src/userland/calls/legacy-vmas'],
      },
      to: { path: '^src/kernel/gup/legacy-vmas' },
    },
    only('bigint-buffer-in-one-place', 'bigint-buffer', '^src/base/bytes'),
    {
      name: 'core-runs-in-a-browser',
      severity: 'error',
      from: { path: '^src/(base|hardware|arch|sched|kernel|check|userland|report|web)/', pathNot: '^src/base/bytes' },
      to: { dependencyTypes: ['core'] },
    },
  ],
  options: {
    tsConfig: { fileName: 'tsconfig.json' },
    tsPreCompilationDeps: true,
    doNotFollow: { path: 'node_modules' },
    enhancedResolveOptions: { exportsFields: ['exports'], conditionNames: ['import', 'require', 'node', 'default'] },
  },
};
