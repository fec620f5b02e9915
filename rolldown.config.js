import { readFileSync } from 'node:fs';
import { defineConfig } from 'rolldown';

/** Goes into the core: to look its few files up in a folder of packages costs 4 ms of each import. */
const bundled = 'pure-rand';
const licence = readFileSync(new URL(`./node_modules/${bundled}/LICENSE`, import.meta.url), 'utf8');

/** Bundles the package: docs/decisions/0006-bundled-package.md. Type declarations come from tsc. */
export default defineConfig({
  input: { index: 'src/index.ts', yaml: 'src/yaml.ts', 'cli/main': 'src/cli/main.ts' },
  platform: 'node',
  // Packages stay outside but for one; everything of our own goes in.
  external: (id) => /^[^./]/.test(id) && !id.startsWith(`${bundled}/`),
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
          test: /node_modules\/pure-rand\/|src\/(base|hardware|arch|sched|kernel|check|userland\/(?!yaml)|report\/(decode|scenario|timeline|walk|table))/,
        },
      ],
    },
    // White space and the names of local variables go: names of functions and classes stay readable in stacks, and
    // module constants stay constants, which V8 folds.
    minify: {
      compress: false,
      mangle: { toplevel: false, keepNames: true },
      codegen: { removeWhitespace: true },
    },
    // One character beyond Latin-1 makes V8 keep and scan a whole chunk with two bytes for each.
    charset: 'ascii',
    postBanner: ({ name }) => (name === 'core' ? `/*! Holds ${bundled}:\n${licence}*/` : ''),
  },
});
