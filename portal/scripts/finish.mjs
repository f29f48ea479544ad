// After vite: takes away what earlier builds left, compresses what is served compressed, and checks the size of the
// first page. A page that grew too large is a failed build.
import { readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { brotliCompressSync, constants } from "node:zlib";

// JavaScript and styles that must be there before the first page shows anything: sign-in or overview.
const FIRST_PAGE_BYTES_MAX = 400_000;
const dist = new URL("../dist/", import.meta.url).pathname;
const manifest = JSON.parse(readFileSync(join(dist, "manifest.json"), "utf8"));

const made = new Set(Object.values(manifest).flatMap((one) => [one.file, ...(one.css ?? []), ...(one.assets ?? [])]));
for (const name of readdirSync(join(dist, "assets"))) {
  if (!made.has(`assets/${name}`)) rmSync(join(dist, "assets", name));
}

const sizes = new Map();
for (const name of [...made, "index.html"]) {
  if (!/\.(js|css|svg|html)$/.test(name)) continue;
  const bytes = readFileSync(join(dist, name));
  const squeezed = brotliCompressSync(bytes, { params: { [constants.BROTLI_PARAM_SIZE_HINT]: bytes.length } });
  sizes.set(name, squeezed.length);
  // The page itself gets a nonce with every answer, so it is not kept compressed.
  if (name !== "index.html") writeFileSync(join(dist, `${name}.br`), squeezed);
}

function needed(entry, seen = new Set()) {
  const one = manifest[entry];
  if (seen.has(one.file)) return seen;
  seen.add(one.file);
  for (const css of one.css ?? []) seen.add(css);
  for (const next of one.imports ?? []) needed(next, seen);
  return seen;
}
for (const page of ["src/pages/sign-in.tsx", "src/pages/overview.tsx"]) {
  const files = new Set([...needed("index.html"), ...needed(page)]);
  const bytes = [...files].reduce((sum, file) => sum + (sizes.get(file) ?? 0), 0);
  console.log(`${page}: ${Math.round(bytes / 1000)} kB compressed in ${files.size} files`);
  if (bytes > FIRST_PAGE_BYTES_MAX) {
    console.error(`${page}: more than ${FIRST_PAGE_BYTES_MAX / 1000} kB before anything shows`);
    process.exit(1);
  }
}
rmSync(join(dist, "manifest.json"));
