import { defineConfig } from 'rolldown';

/** Bundles the package: docs/decisions/0006-bundled-package.md. Type declarations come from tsc. */
export default defineConfig({
  input: { index: 'src/index.ts', yaml: 'src/yaml.ts', 'cli/main': 'src/cli/main.ts' },
  platform: 'node',
  // Packages stay outside; everything of our own goes in.
  external: /^[^./]/,
  output: {
    dir: 'dist',
    format: 'esm',
    entryFileNames: '[name].js',
    chunkFileNames: 'chunks/[name]-[hash].js',
    // What the index needs is one file: each further one costs its look-up.
    codeSplitting: {
      groups: [
        {
          name: 'core',
          test: /src\/(base|hardware|arch|sched|kernel|check|userland\/(?!yaml)|report\/(decode|scenario|timeline|walk|table))/,
        },
      ],
    },
    // Only white space goes: names stay readable in stacks, and module constants stay constants, which V8 folds.
    minify: { compress: false, mangle: false, codegen: { removeWhitespace: true } },
  },
});
