// Bundles the page into the package: node build.mjs [folder]. The same sources give the same bytes.
import { build } from "esbuild";
import { gzipSync } from "node:zlib";
import { mkdtempSync, readFileSync, renameSync, rmSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";

const here = dirname(fileURLToPath(import.meta.url));
const out = resolve(process.argv[2] ?? join(here, "../src/micrographia/report/web"));
const most = { bytes: 250_000, gzip: 90_000 };

// Built beside and moved into place when it is whole: whoever reads the package meanwhile finds a whole page.
const made = mkdtempSync(join(out, ".build-"));
process.on("exit", () => rmSync(made, { recursive: true, force: true }));
await build({
  absWorkingDir: here,
  entryPoints: { app: "src/main.tsx" },
  outdir: made,
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

const bytes = readFileSync(join(made, "app.js"));
const gzip = gzipSync(bytes, { level: 9 }).length;
console.log(`app.js: ${bytes.length} bytes, ${gzip} compressed`);
if (bytes.length > most.bytes || gzip > most.gzip) {
  console.error(`The bundle may have ${most.bytes} bytes, ${most.gzip} compressed.`);
  process.exit(1);
}
for (const name of ["app.js", "app.css"]) renameSync(join(made, name), join(out, name));
