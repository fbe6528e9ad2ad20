import { defineConfig } from 'vite'

// The result lies where Go embeds it and is committed: it has to be the same
// bytes wherever it is built.
export default defineConfig({
  oxc: { jsx: { runtime: 'automatic', importSource: 'preact' } },
  build: {
    outDir: '../dist',
    emptyOutDir: true,
    target: 'es2022',
    modulePreload: false,
    assetsInlineLimit: 0, // a data: URL would need a hole in the Content-Security-Policy
  },
})
