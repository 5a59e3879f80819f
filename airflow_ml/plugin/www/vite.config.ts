import { createHash } from "node:crypto";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import type { Plugin } from "vite";
import { defineConfig } from "vitest/config";

/**
 * What the bundle is made from; a test of the project fails while dist/SOURCES.sha256 says something else. The API's
 * types leave nothing in it.
 */
const SOURCES = ["package-lock.json", "package.json", "tsconfig.json", "vite.config.ts"];

function sources(): string[] {
  const inner = ["public", "src"]
    .flatMap((folder) => readdirSync(folder, { recursive: true, withFileTypes: true }))
    .filter((entry) => entry.isFile() && !entry.name.includes(".test.") && entry.name !== "types.ts")
    .map((entry) => join(entry.parentPath, entry.name));
  return [...SOURCES, ...inner].sort();
}

/** Write the digests of the sources beside the bundle, in the format of `sha256sum --check`. */
function sourceDigests(): Plugin {
  return {
    name: "source-digests",
    apply: "build",
    closeBundle() {
      const lines = sources().map(
        (path) => `${createHash("sha256").update(readFileSync(path)).digest("hex")}  ${path}\n`,
      );
      writeFileSync("dist/SOURCES.sha256", lines.join(""));
    },
  };
}

export default defineConfig({
  define: { "process.env.NODE_ENV": JSON.stringify("production") },
  plugins: [sourceDigests()],
  build: {
    target: "es2022",
    reportCompressedSize: true,
    license: { fileName: "LICENSES.md" },
    // Airflow's page has these on globalThis: the same React, theme and router, and nothing of them in the bundle.
    lib: { entry: "src/main.tsx", formats: ["umd"], name: "AirflowPlugin", fileName: () => "airflow_ml.js" },
    rolldownOptions: {
      external: ["react", "react-dom", "react/jsx-runtime", "react-router-dom", "@chakra-ui/react", "@emotion/react"],
      output: {
        globals: {
          react: "React",
          "react-dom": "ReactDOM",
          "react/jsx-runtime": "ReactJSXRuntime",
          "react-router-dom": "ReactRouterDOM",
          "@chakra-ui/react": "ChakraUI",
          "@emotion/react": "EmotionReact",
        },
      },
    },
  },
  test: {
    environment: "happy-dom",
    include: ["src/**/*.test.{ts,tsx}"],
    restoreMocks: true,
  },
});
