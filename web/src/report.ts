// The report of a scan, one file of HTML: the frame, the viewer and the style of uad-report, filled in here.
import blend from "text:../../uadtools/report/web/blend.html";
import frame from "text:../../uadtools/report/web/page.html";
import style from "text:../../uadtools/report/web/page.css";
import sort from "text:../../uadtools/report/web/sort.js";
import viewer from "text:../../uadtools/report/web/viewer.html";
import moving from "text:../../uadtools/report/web/viewer.js";
import { type Mask, boxOf, cut, quantiles } from "./filters.ts";
import { type Grid, each, partOf } from "./grid.ts";
import { write } from "./nifti.ts";
import { drawn } from "./picture.ts";
import type { Finding } from "./score.ts";

export interface Reported {
  /** scan, healed and score on `grid`, the detection on `native`. */
  images: { scan: Float32Array; healed: Float32Array; score: Float32Array; detection: Mask };
  grid: Grid;
  native: Grid;
  findings: Finding[];
  withheld: boolean;
  concerns: string[];
  threshold: number;
  settings: [string, string][];
  version: string;
}
interface Layer {
  role: string;
  title: string;
  colours: string[];
  grey: boolean;
  low: number;
  high: number;
  opacity: number;
  shown: boolean;
  nifti: string;
}

const MOST_ROWS = 200,
  GREY = ["#000000", "#ffffff"],
  MARGIN = 3;
const COLOURS = { scan: GREY, healed: GREY, score: ["#7a1020", "#ff7a1a", "#fff3a0"], detection: ["#ff5a1f"] };
const TITLES = { scan: "scan", healed: "healed", score: "anomaly score", detection: "detection" };
const METHODS =
  "The scan was brought onto the model's grid and healed: a network took out what does not belong into a healthy " +
  "brain, and said where. The score of a voxel is the difference, weighed by the root of that probability, over what " +
  "healthy scans have at that place; the detection is what is above the model's threshold after smoothing, " +
  "without small components. All of it was computed in a browser by uadtools; nothing was uploaded.";

export async function reportOf(what: Reported): Promise<{ html: string; summary: string }> {
  const layers = await layersOf(what),
    summary = summaryOf(what);
  const niivue = await (await fetch(new URL("niivue.txt", self.location.href))).text();
  const picture = await drawn(
    what.images,
    what.grid,
    layers.map(({ low, high }) => [low, high]),
    what.native,
  );
  const content = [
    ...what.concerns.map((text) => `<p class="concern">${shown(text)}</p>`),
    filled(viewer, { blend, layers: layers.map(rowOf).join("\n"), findings: tableOf(what.findings) }),
    section(
      "Slices",
      `<img alt="Axial slices, the patient's left on the right: scan, healed, score, detection." src="${picture}">`,
    ),
    section("What was done", done([...what.settings, ["threshold of the detection", what.threshold.toPrecision(4)]])),
    section("Methods", `<p>${shown(METHODS)}</p>`),
  ].join("\n");
  const policy =
    `default-src 'none'; img-src data:; style-src '${HASHES.style}'; script-src '${HASHES.script}' ` +
    `'${HASHES.niivue}'; base-uri 'none'; form-action 'none'`;
  const json = JSON.stringify({ layers }).replaceAll("<", "\\u003c");
  const kept = { niivue: ["text/plain", niivue], report: ["application/json", json] };
  const data = Object.entries(kept).map(([id, [type, text]]) => `<script type="${type}" id="${id}">${text}</script>`);
  const credits = `Made by uadtools ${what.version}. Viewer: NiiVue (BSD 2-Clause).`;
  const html = filled(frame, {
    policy,
    title: "Scan",
    style,
    summary: shown(summary),
    content,
    credits,
    data: data.join("\n"),
    script: sort + moving,
  });
  return { html, summary };
}

const filled = (template: string, parts: Record<string, string>) =>
  template.replace(/\$(\w+)/g, (_, name) => parts[name]);
const section = (title: string, content: string) => `<section><h2>${shown(title)}</h2>\n${content}</section>`;
const done = (rows: string[][]) =>
  `<table class="words"><thead><tr><th scope="col">what</th><th scope="col">how</th></tr></thead>
<tbody>${rows.map(line).join("")}</tbody></table>`;
const line = (cells: string[]) => `<tr>${cells.map((cell) => `<td>${shown(cell)}</td>`).join("")}</tr>`;
const shown = (text: string) => text.replace(/[&<>"']/g, (c) => `&#${c.charCodeAt(0)};`);

function summaryOf({ findings, withheld }: Reported): string {
  if (!findings.length) return `Nothing was detected.${withheld ? " It was withheld." : ""}`;
  const total = findings.reduce((sum, { ml }) => sum + ml, 0).toFixed(2);
  const things = findings.length === 1 ? "1 finding" : `${findings.length} findings, ${total} mL in all`;
  return `${things}, the largest of ${findings[0].ml.toFixed(2)} mL`;
}

/** Encode what the viewer draws, in its order, each with the values of its first and its last colour. */
async function layersOf({ images, grid, native, threshold }: Reported): Promise<Layer[]> {
  const { low, high } = boxOf(images.scan, grid.shape, MARGIN);
  const [dark, bright] = windowOf(images.scan);
  const [most] = quantiles(
      images.score.filter((value) => value > 0),
      [0.999],
    ),
    least = Math.min(threshold, most / 2);
  const ranges = {
    scan: [dark, bright],
    healed: [dark, bright],
    score: [least, Math.max(most, least + 1e-6)],
    detection: [0.5, 0.6],
  };
  const layers = Object.entries(images).map(async ([name, image]): Promise<Layer> => {
    const role = name as keyof Reported["images"],
      [from, to] = ranges[role];
    const part = image instanceof Float32Array ? cut(image, grid.shape, low, high) : null;
    const slope = part ? part.data.reduce((a, b) => Math.max(a, Math.abs(b)), 0) / 32767 || 1 : 1;
    const packed = part
      ? await write(
          Int16Array.from(part.data, (value) => Math.round(value / slope)),
          partOf(
            grid,
            each((i) => low[i]),
            part.shape,
          ),
          { slope, low: from, high: to },
        )
      : await write(images.detection, native, { low: from, high: to });
    return {
      role,
      title: TITLES[role],
      colours: COLOURS[role],
      grey: COLOURS[role] === GREY,
      low: from,
      high: to,
      opacity: role === "detection" ? 0.5 : role === "score" ? 0.8 : 1,
      shown: role === "scan" || role === "detection",
      nifti: base64(packed),
    };
  });
  return Promise.all(layers);
}

/** Choose what is drawn black and white: from the 5th to the 95th hundredth of the brain, and half as far again. */
function windowOf(scan: Float32Array): [number, number] {
  const inside = scan.filter((value) => value > 0),
    [least, low, high, most] = quantiles(inside, [0, 0.05, 0.95, 1]);
  const reach = (high - low) / 2 || Infinity;
  return [Math.max(least, low - reach), Math.max(Math.min(most, high + reach), least + 1e-6)];
}

function rowOf({ role, title, opacity, shown: checked }: Layer): string {
  return (
    `<div class="row"><label><input type="checkbox" id="show-${role}"${checked ? " checked" : ""}>` +
    `<span class="swatch" id="swatch-${role}"></span>${title}</label>` +
    `<input type="range" id="opacity-${role}" min="0" max="100" value="${100 * opacity}" ` +
    `aria-label="Opacity: ${title}"></div>`
  );
}

function tableOf(findings: Finding[]): string {
  if (!findings.length) return '<p id="none">Nothing was detected.</p>';
  const heads = ["#", "mL", "place, mm", "mean", "peak"].map(
    (head) => `<th scope="col"><button type="button">${head}</button></th>`,
  );
  const rows = findings.slice(0, MOST_ROWS).map(({ ml, place, mean, peak }, i) => {
    const cells: [string, number][] = [
      [`<button type="button">${i + 1}</button>`, i + 1],
      [ml.toFixed(2), ml],
      [place.map((x) => x.toFixed(0).replace("-0", "0")).join(", "), place[2]],
      [mean.toPrecision(3), mean],
      [peak.toPrecision(3), peak],
    ];
    const row = cells.map(([text, value]) => `<td data-value="${value.toPrecision(6)}">${text}</td>`).join("");
    return `<tr data-mm="${place.map((x) => x.toFixed(2)).join(" ")}">${row}</tr>`;
  });
  const more = findings.length - MOST_ROWS;
  return (
    '<section class="scroll" tabindex="0" aria-label="Findings"><table id="findings">' +
    `<caption>Findings, the largest first</caption><thead><tr>${heads.join("")}</tr></thead>` +
    `<tbody>${rows.join("")}</tbody></table></section>` +
    (more > 0 ? `<p class="quiet">${more} smaller ones are not listed.</p>` : "")
  );
}

function base64(bytes: Uint8Array): string {
  let text = "";
  for (let i = 0; i < bytes.length; i += 32768) text += String.fromCharCode(...bytes.subarray(i, i + 32768));
  return btoa(text);
}
