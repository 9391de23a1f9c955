// The worker: a scan goes in, and what is found comes back. Nothing of it leaves the page.
import { type Scan, read, write } from "./nifti.ts";
import { type Model, heal, readModel } from "./model.ts";
import { features, recognise, unlike } from "./likeness.ts";
import { prepare } from "./prepare.ts";
import { detect, native, onGrid, score } from "./score.ts";
import { reportOf } from "./report.ts";
import { resample } from "./grid.ts";
import { Told } from "./told.ts";

export interface Asked {
  scan: File;
  brain: File | null;
}
export type Answer =
  | { kind: "doing"; text: string; share: number }
  | { kind: "failed"; text: string }
  | { kind: "done"; summary: string; files: Record<string, Blob> };

const say = (answer: Answer) => self.postMessage(answer);
const doing = (text: string, share: number) => say({ kind: "doing", text, share });
const fetched = async (name: string) => {
  const response = await fetch(new URL(name, self.location.href));
  if (!response.ok) throw new Told(`${name} is missing from this page's folder (make web builds it).`);
  return response;
};

self.onmessage = async ({ data }: MessageEvent<Asked>) => {
  try {
    await work(data);
  } catch (error) {
    const text =
      error instanceof Told ? error.message : `Something went wrong, which is a fault of this page: ${error}`;
    say({ kind: "failed", text });
  }
};

async function work(asked: Asked): Promise<void> {
  doing("Reading the scan", 0.02);
  const scan = await read(asked.scan),
    brain = asked.brain && (await read(asked.brain));
  const model = await readModel(await (await fetched("model.json")).json());
  doing("Bringing it onto the model's grid", 0.08);
  const {
    grid: { shape, spacing },
    intensity,
    likeness,
    defaults: { chain, thresholds },
  } = model.settings;
  const prepared = prepare(scan, brain, shape, spacing, intensity);
  doing("Asking whether it is like what the model learnt from", 0.2);
  const looks = features(prepared.data, prepared.brain, shape),
    strange = unlike(looks, likeness);
  const contrast = looks ? recognise(looks, model.contrasts) : "other";
  doing("Loading the model", 0.25);
  const graph = new Uint8Array(await (await fetched("model.onnx")).arrayBuffer());
  const made = await heal(graph, model, prepared.data, prepared.brain, (share) => doing("Healing", 0.3 + 0.55 * share));
  doing("Scoring", 0.87);
  const reference = model.expected[contrast] ?? model.expected[""],
    threshold = thresholds[`${model.method} ${model.t}`];
  const expected = onGrid(reference.values, reference.shape, shape);
  const scored = score(prepared.data, made.healed, made.probability, expected, prepared.brain);
  const { smooth, detection } = detect(scored, prepared.brain, shape, chain, threshold);
  const found = native(strange ? detection.fill(0) : detection, smooth, prepared.grid, scan.grid);
  doing("Writing", 0.93);
  const concerns = [
    ...prepared.concerns,
    ...(strange ? [`No detection: the scan is unlike what the model learnt from: ${strange}.`] : []),
  ];
  const images = { scan: prepared.data, healed: made.healed, score: scored, detection: found.mask };
  const report = await reportOf({
    images,
    grid: prepared.grid,
    native: scan.grid,
    findings: found.findings,
    withheld: Boolean(strange),
    concerns,
    threshold,
    settings: settingsOf(model, contrast, made.engine, brain),
    version: model.version,
  });
  say({ kind: "done", summary: report.summary, files: await filesOf(scan, prepared.grid, images, report.html) });
}

/** Say what was done, for the report. */
function settingsOf(
  { settings, method, t, source }: Model,
  contrast: string,
  engine: string,
  brain: Scan | null,
): [string, string][] {
  const {
    grid,
    intensity,
    defaults: { chain },
  } = settings;
  return [
    ["model", source],
    ["engine", engine],
    ["method", `${method}, t ${t}`],
    ["contrast, as recognised", contrast],
    ["brain", brain ? "a mask that was given" : "what is not background"],
    ["grid", `${grid.shape.join(" x ")} voxels of ${grid.spacing.join(" x ")} mm`],
    ["intensities", `${intensity.kind} ${intensity.low} to ${intensity.high}`],
    [
      "chain",
      `median ${chain.median}, Gaussian of ${chain.smooth} voxels, components of at least ${chain.min_size} voxels`,
    ],
  ];
}

/** Write what is downloaded: volumes on the scan's own grid, with its header's words for it, and the report. */
async function filesOf(
  { grid, header }: Scan,
  here: Scan["grid"],
  images: Record<string, Float32Array | Uint8Array>,
  report: string,
): Promise<Record<string, Blob>> {
  const packed = async (data: Float32Array | Uint8Array) =>
    new Blob([(await write(data, grid, { like: header })) as BlobPart]);
  return {
    "detection.nii.gz": await packed(images.detection as Uint8Array),
    "score.nii.gz": await packed(resample(images.score, here, grid)),
    "healed.nii.gz": await packed(resample(images.healed, here, grid)),
    "report.html": new Blob([report], { type: "text/html" }),
  };
}
