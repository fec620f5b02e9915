import { defineConfig } from 'vitest/config';

export default defineConfig({
  resolve: { conditions: ['tablewalk-source'] },
  ssr: { resolve: { conditions: ['tablewalk-source'] } },
  test: {
    include: ['test/**/*.test.ts'],
    // Modules hold no mutable state, so test files may share one module graph: several times faster.
    isolate: false,
    pool: 'threads',
    reporters: ['default', './test/support/closing-line.ts'],
    testTimeout: 30_000,
  },
});
