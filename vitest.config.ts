import { defineConfig } from 'vitest/config';

/** What runs once for each architecture; everything else knows for itself what it is about. */
const ON_EVERY_ARCHITECTURE = [
  'test/kernel/**/*.test.ts',
  'test/userland/**/*.test.ts',
  'test/check/**/*.test.ts',
];

export default defineConfig({
  resolve: { conditions: ['tablewalk-source'] },
  ssr: { resolve: { conditions: ['tablewalk-source'] } },
  test: {
    // Modules hold no mutable state, so test files may share one module graph: several times faster.
    isolate: false,
    pool: 'threads',
    reporters: ['default', './test/support/closing-line.ts'],
    setupFiles: ['./test/support/property-seed.ts'],
    testTimeout: 30_000,
    projects: [
      {
        extends: true,
        test: { name: 'x86_64', include: ['test/**/*.test.ts'], provide: { architecture: 'x86_64' } },
      },
      {
        extends: true,
        test: {
          name: 'arm64',
          include: ON_EVERY_ARCHITECTURE,
          // About arm64 anyway, whichever it is run with.
          exclude: ['test/kernel/selftests-mte/**'],
          provide: { architecture: 'arm64' },
        },
      },
    ],
  },
});
