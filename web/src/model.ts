// The model: its settings, as uad-models export writes them beside the graph, and asking it.
import * as ort from "onnxruntime-web/webgpu";
import type { Mask, Shape } from "./filters.ts";
import type { Likeness, Contrasts } from "./likeness.ts";
import type { Intensity } from "./prepare.ts";
import type { Chain } from "./score.ts";

export interface Settings {
  name: string;
  grid: { shape: Shape; spacing: [number, number, number] };
  intensity: Intensity;
  network: { reach: number };
  defaults: { chain: Chain; thresholds: Record<string, number> };
  likeness: Likeness;
}
export interface Model {
  settings: Settings;
  method: string;
  t: number;
  /** The model it was made of, with the hash of its file. */
  source: string;
  contrasts: Contrasts;
  version: string;
  /** What a healthy residual is to be, by contrast, and "" for any other, on every second voxel, z fastest. */
  expected: Record<string, { shape: Shape; values: Float32Array }>;
}
export interface Healed {
  /** In [0, 1], above 0 exactly inside the brain. */
  healed: Float32Array;
  probability: Float32Array;
  engine: string;
}

const TOGETHER = 8,
  REFERENCE = "reference.expected";
/** Smallest value inside the brain. */
const FLOOR = 1e-3;

/** Read what stands beside the graph: texts by name, as they are in the ONNX file, and the table of contrasts. */
export async function readModel(texts: Record<string, string>): Promise<Model> {
  const form = JSON.parse(texts["uadtools.exported"]),
    expected: Model["expected"] = {};
  for (const [name, text] of Object.entries(texts)) {
    if (!name.startsWith(REFERENCE)) continue;
    const { shape, float16 } = JSON.parse(text),
      bytes = Uint8Array.from(atob(float16), (c) => c.charCodeAt(0));
    expected[name.slice(REFERENCE.length + 1)] = {
      shape,
      values: Float32Array.from(new Uint16Array(bytes.buffer), half),
    };
  }
  return {
    settings: JSON.parse(texts.uadtools),
    method: form.method,
    t: form.t,
    source: form.source,
    contrasts: JSON.parse(texts.contrasts),
    version: texts.version,
    expected,
  };
}

function half(bits: number): number {
  const sign = bits >> 15 ? -1 : 1,
    exponent = (bits >> 10) & 31,
    rest = bits & 1023;
  return sign * (exponent ? 2 ** (exponent - 15) * (1 + rest / 1024) : 2 ** -14 * (rest / 1024));
}

/** Heal a prepared scan, slice by slice, each seen with its neighbours. told: of the share that is done. */
export async function heal(
  graph: Uint8Array,
  model: Model,
  data: Float32Array,
  brain: Mask,
  told: (share: number) => void,
): Promise<Healed> {
  const { session, engine } = await sessionOf(graph),
    {
      grid: { shape },
      network: { reach },
    } = model.settings;
  const [nx, ny, nz] = shape,
    area = nx * ny,
    seen = 2 * reach + 1;
  const slices = Array.from({ length: nz }, (_, z) => z).filter((z) =>
    brain.subarray(z * area, (z + 1) * area).includes(1),
  );
  const healed = new Float32Array(data.length),
    probability = new Float32Array(data.length);
  for (let first = 0; first < slices.length; first += TOGETHER) {
    const batch = slices.slice(first, first + TOGETHER),
      x = new Float32Array(batch.length * seen * area);
    batch.forEach((_, b) => {
      for (let k = 0; k < seen; k++) {
        const z = slices[Math.min(Math.max(first + b + k - reach, 0), slices.length - 1)],
          to = (b * seen + k) * area;
        for (let i = 0; i < area; i++) x[to + i] = 2 * data[z * area + i] - 1;
      }
    });
    const given: Record<string, ort.Tensor> = { x: new ort.Tensor("float32", x, [batch.length, seen, ny, nx]) };
    if (session.inputNames.includes("t")) given.t = new ort.Tensor("int64", BigInt64Array.of(BigInt(model.t)), [1]);
    const made = await session.run(given);
    const [mended, sure] = [made.healed.data as Float32Array, made.probability.data as Float32Array];
    batch.forEach((z, b) => {
      for (let i = 0; i < area; i++) {
        const place = z * area + i;
        if (!brain[place]) continue;
        healed[place] = Math.min(Math.max((mended[b * area + i] + 1) / 2, FLOOR), 1);
        probability[place] = sure[b * area + i];
      }
    });
    told(Math.min(1, (first + TOGETHER) / slices.length));
  }
  await session.release();
  return { healed, probability, engine };
}

/** Load the graph for the graphics processor where there is one, else for as many threads as the page may have. */
async function sessionOf(graph: Uint8Array): Promise<{ session: ort.InferenceSession; engine: string }> {
  ort.env.logLevel = "error";
  ort.env.wasm.numThreads = self.crossOriginIsolated ? Math.min(navigator.hardwareConcurrency, 8) : 1;
  const gpu = await (navigator as { gpu?: { requestAdapter(): Promise<unknown> } }).gpu
    ?.requestAdapter()
    .catch(() => null);
  const session = await ort.InferenceSession.create(graph, { executionProviders: [gpu ? "webgpu" : "wasm"] });
  return { session, engine: gpu ? "WebGPU" : `WebAssembly, threads: ${ort.env.wasm.numThreads}` };
}
