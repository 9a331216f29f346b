// Bundles the page into the package: node build.mjs [folder]. The same sources give the same bytes.
import { build } from "esbuild";
import { gzipSync } from "node:zlib";
import { readFileSync, rmSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";

const here = dirname(fileURLToPath(import.meta.url));
const out = resolve(process.argv[2] ?? join(here, "../src/micrographia/report/web"));
const most = { bytes: 250_000, gzip: 90_000 };

for (const name of ["app.js", "app.css"]) rmSync(join(out, name), { force: true });
await build({
  absWorkingDir: here,
  entryPoints: { app: "src/main.tsx" },
  outdir: out,
  bundle: true,
  minify: true,
  format: "iife",
  target: ["es2022"],
  charset: "ascii",
  legalComments: "none",
  jsx: "automatic",
  jsxImportSource: "preact",
  logLevel: "warning",
});

const bytes = readFileSync(join(out, "app.js"));
const gzip = gzipSync(bytes, { level: 9 }).length;
console.log(`app.js: ${bytes.length} bytes, ${gzip} compressed`);
if (bytes.length > most.bytes || gzip > most.gzip) {
  console.error(`The bundle may have ${most.bytes} bytes, ${most.gzip} compressed.`);
  process.exit(1);
}
