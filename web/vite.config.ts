import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import react from "@vitejs/plugin-react";
import { defineConfig } from "vitest/config";
import type { Plugin } from "vite";

/** Every text asset also packed, beside it: the API hands that to whoever can unpack it. */
function packed(): Plugin {
  return {
    name: "packed",
    apply: "build",
    // From what was written: until then, other plugins change what is in the chunks.
    writeBundle({ dir }, bundle) {
      for (const fileName of Object.keys(bundle).filter((name) => /\.(js|css|svg)$/.test(name))) {
        const file = join(dir ?? "", fileName);
        writeFileSync(`${file}.gz`, gzipSync(readFileSync(file), { level: 9 }));
      }
    },
  };
}

export default defineConfig({
  // Relative addresses: the page also opens behind a proxy that puts a path before it.
  base: "./",
  plugins: [react(), packed()],
  build: {
    outDir: "../api/dist",
    emptyOutDir: true,
    // An inlined asset would be a data: address, and pictures alone may be one.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    chunkSizeWarningLimit: 400,
  },
  server: { proxy: Object.fromEntries(API_PATHS().map((path) => [path, "http://127.0.0.1:8000"])) },
  test: { include: ["src/**/*.test.ts"], environment: "node" },
});

/** For `npm run dev`: what the development server passes on to a platform on this machine. */
function API_PATHS(): string[] {
  return [
    "/jobs", "/models", "/template-sets", "/datasets", "/mixtures", "/tasks", "/clusters", "/render", "/keys",
    "/session", "/nodes", "/version", "/generate", "/classify", "/score", "/published-results", "/openapi.json",
    "/docs", "/v1",
  ];
}
