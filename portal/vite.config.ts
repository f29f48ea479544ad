import react from "@vitejs/plugin-react";
import { defineConfig } from "vite";

export default defineConfig({
  plugins: [react()],
  build: {
    outDir: "dist",
    // `scripts/finish.mjs` takes away what an earlier build left: the folder itself stays under version control.
    emptyOutDir: false,
    assetsDir: "assets",
    // No asset stands in a page or a style sheet itself: the content security policy has no `data:`.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    manifest: "manifest.json",
    target: "es2022",
    reportCompressedSize: false,
    chunkSizeWarningLimit: 1500,
  },
});
