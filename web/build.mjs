// Builds the page into ../build/web, beside model.onnx and model.json (make web); `tests`: its tests.
import { createHash } from "node:crypto";
import fs from "node:fs";
import path from "node:path";
import zlib from "node:zlib";
import { build } from "esbuild";

const here = import.meta.dirname,
  modules = path.join(here, "node_modules"),
  report = path.join(here, "../uadtools/report/web");
const out = path.join(here, "../build/web");
const texts = {
  name: "text",
  setup({ onResolve, onLoad }) {
    onResolve({ filter: /^text:/ }, ({ path: name, resolveDir }) => ({
      path: path.resolve(resolveDir, name.slice(5)),
      namespace: "text",
    }));
    onLoad({ filter: /.*/, namespace: "text" }, ({ path: name }) => ({
      contents: fs.readFileSync(name, "utf-8"),
      loader: "text",
    }));
  },
};
const hash = (text) => `sha256-${createHash("sha256").update(text).digest("base64")}`;
const read = (name) => fs.readFileSync(path.join(report, name));
const packed = read(fs.readdirSync(report).find((name) => /^niivue.*\.js\.gz$/.test(name)));
const hashes = {
  style: hash(read("page.css")),
  script: hash(Buffer.concat([read("sort.js"), read("viewer.js")])),
  niivue: hash(zlib.gunzipSync(packed)),
};
// the report lies in a frame, which keeps to the page's policy, too
const policy = [
  "default-src 'none'",
  `script-src 'self' 'wasm-unsafe-eval' '${hashes.script}' '${hashes.niivue}'`,
  "worker-src 'self'",
  `style-src 'self' '${hashes.style}'`,
  "img-src 'self' data:",
  "connect-src 'self'",
  "frame-src blob:",
  "base-uri 'none'",
  "form-action 'none'",
].join("; ");
const common = {
  bundle: true,
  format: "esm",
  target: "es2022",
  plugins: [texts],
  logLevel: "warning",
  outdir: out,
  define: { HASHES: JSON.stringify(hashes), POLICY: JSON.stringify(policy) },
};

if (process.argv[2] === "tests") {
  const tests = fs.readdirSync(path.join(here, "tests")).filter((name) => name.endsWith(".test.ts"));
  await build({
    ...common,
    entryPoints: tests.map((name) => path.join(here, "tests", name)),
    outdir: `${out}-tests`,
    platform: "node",
  });
} else {
  // programs that find their WebAssembly and their workers beside themselves stay files of their own
  const apart = {
    "onnxruntime-web/webgpu": "./ort/ort.webgpu.bundle.min.mjs",
    "@niivue/dcm2niix": "./dcm2niix/index.jpeg.js",
  };
  for (const folder of ["ort", "dcm2niix"]) fs.mkdirSync(path.join(out, folder), { recursive: true });
  const copy = (from, to) => fs.copyFileSync(path.join(modules, from), path.join(out, to));
  for (const name of ["ort.webgpu.bundle.min.mjs", "ort-wasm-simd-threaded.asyncify.wasm"])
    copy(`onnxruntime-web/dist/${name}`, `ort/${name}`);
  for (const name of ["index.jpeg.js", "worker.jpeg.js", "dcm2niix.jpeg.js", "dcm2niix.jpeg.wasm"])
    copy(`@niivue/dcm2niix/dist/${name}`, `dcm2niix/${name}`);
  fs.writeFileSync(path.join(out, "niivue.txt"), packed.toString("base64"));
  fs.copyFileSync(path.join(report, "niivue-LICENSE.txt"), path.join(out, "niivue-LICENSE.txt"));
  fs.copyFileSync(path.join(here, "../examples/data/patient19_FLAIR.nii.gz"), path.join(out, "example.nii.gz"));
  fs.writeFileSync(
    path.join(out, "index.html"),
    fs.readFileSync(path.join(here, "index.html"), "utf-8").replace("$policy", policy),
  );
  fs.writeFileSync(
    path.join(out, "page.css"),
    Buffer.concat([read("page.css"), fs.readFileSync(path.join(here, "page.css"))]),
  );
  const sources = ["page.ts", "work.ts"].map((name) => path.join(here, "src", name));
  await build({ ...common, entryPoints: sources, minify: true, alias: apart, external: Object.values(apart) });
  const files = fs
    .readdirSync(out, { recursive: true })
    .filter((name) => name !== "offline.js" && fs.statSync(path.join(out, name)).isFile())
    .sort();
  const version = createHash("sha256");
  for (const name of files) version.update(name).update(fs.readFileSync(path.join(out, name)));
  const kept = { FILES: JSON.stringify(["./", ...files]), BUILD: JSON.stringify(version.digest("hex").slice(0, 16)) };
  await build({
    ...common,
    entryPoints: [path.join(here, "src/offline.ts")],
    minify: true,
    define: { ...common.define, ...kept },
  });
}
