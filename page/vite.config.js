// Built into the Python package. File names are fixed, so that the same sources give the same bytes; stamp.json says which sources and which bytes.
import { createHash } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { join, relative } from "node:path";
import { defineConfig } from "vite";

const HERE = import.meta.dirname;
const SOURCES = ["index.html", "package.json", "package-lock.json", "tsconfig.json", "vite.config.js", "public", "src"];
const PARTS = ["preact", "uplot"];

function files(place) {
  const entries = readdirSync(place, { withFileTypes: true });
  return entries.flatMap((entry) => (entry.isDirectory() ? files(join(place, entry.name)) : [join(place, entry.name)]));
}

/** One hash of every source, by name and content; tests/web/test_build.py makes the same one. */
function sources() {
  const all = readdirSync(HERE, { withFileTypes: true }).filter((entry) => SOURCES.includes(entry.name));
  const paths = all.flatMap((entry) => (entry.isDirectory() ? files(join(HERE, entry.name)) : [join(HERE, entry.name)]));
  const hash = createHash("sha256");
  for (const name of paths.map((path) => relative(HERE, path).replaceAll("\\", "/")).sort()) {
    hash.update(`${name}\0`).update(readFileSync(join(HERE, name))).update("\0");
  }
  return hash.digest("hex");
}

function stamp() {
  return {
    name: "stamp",
    enforce: "post",
    generateBundle() {
      const texts = PARTS.map((part) => `${part}\n\n${readFileSync(join(HERE, "node_modules", part, "LICENSE"), "utf8").trim()}\n`);
      this.emitFile({ type: "asset", fileName: "licences.txt", source: `The page holds these works of others.\n\n${texts.join("\n\n")}` });
    },
    writeBundle(options) {
      const built = readdirSync(options.dir).filter((name) => name !== "stamp.json").sort();
      const hashes = Object.fromEntries(built.map((name) => [name, createHash("sha256").update(readFileSync(join(options.dir, name))).digest("hex")]));
      return this.fs.writeFile(join(options.dir, "stamp.json"), `${JSON.stringify({ sources: sources(), files: hashes }, null, 1)}\n`);
    },
  };
}

export default defineConfig({
  base: "/page/",
  build: {
    outDir: "../src/ftheta/web/page",
    emptyOutDir: true,
    target: "es2022",
    modulePreload: { polyfill: false },
    reportCompressedSize: false,
    rollupOptions: { output: { entryFileNames: "page.js", assetFileNames: "page[extname]", codeSplitting: false } },
  },
  server: { proxy: { "/ui": "http://127.0.0.1:8000", "/v1": "http://127.0.0.1:8000", "/predict": "http://127.0.0.1:8000" } },
  plugins: [stamp()],
});
