import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    // Modules hold no mutable state, so test files may share one module graph: several times faster.
    isolate: false,
    pool: 'threads',
  },
});
