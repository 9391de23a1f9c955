// What a prepared scan looks like, which contrast it has, and how unlike a model's healthy scans it is:
// uadtools/anatomy/likeness.py, anatomy/contrast.py and models/likeness.py, for scans of 2 mm.
import { type Mask, type Shape, boxOf, correlate, gaussian, quantiles, steps, strides, where } from "./filters.ts";
import { count } from "./grid.ts";

export type Features = Record<string, number>;
interface Group {
  mean: number[];
  inverse: number[][];
}
export interface Likeness {
  contrasts: Record<string, Record<string, Group>>;
  limit: number;
  scans: number;
}
export interface Contrasts {
  features: string[];
  means: Record<string, number[]>;
  inverse: number[][];
  usual: number;
  margin: number;
}

const LEVELS = [0.05, 0.1, 0.25, 0.5, 0.75, 0.9];
const SHELLS = [0, 5, 9, 15, 24, Infinity];
const GROUPS: Record<string, string[]> = {
  histogram: ["q05", "q10", "q25", "q50", "q75", "q90", "entropy"],
  contrast: [
    "shell0",
    "shell1",
    "shell2",
    "shell3",
    "shell4",
    "deep_dark",
    "deep_bright",
    "rim_dark",
    "rim_bright",
    "from_dark",
    "from_bright",
    "ridges",
    "symmetry",
  ],
  sharpness: ["left1", "left2", "left4", "along_x", "along_y", "along_z"],
  noise: ["noise", "evenness"],
  "brain size": ["log_ml", "width", "length", "height", "roughness"],
};
const PRIORS: Record<string, number> = { T1: 0.4, T2: 0.25, FLAIR: 0.3, PD: 0.05 };
/** 100 mL of 2 mm; mm of a voxel; mL of one. */
const LEAST_VOXELS = 12_500,
  SPACING = 2,
  ML = 0.008;

const sum = (values: ArrayLike<number>) => {
  let all = 0;
  for (let i = 0; i < values.length; i++) all += values[i];
  return all;
};
const mean = (values: ArrayLike<number>) => sum(values) / values.length;
const both = (a: ArrayLike<unknown>, test: (i: number) => unknown): Mask =>
  Uint8Array.from(a, (value, i) => Number(Boolean(value && test(i))));

/** Describe a prepared scan; null for less than 100 mL of brain, and for one of a single value. */
export function features(data: Float32Array, inside: Mask, whole: Shape): Features | null {
  if (sum(inside) < LEAST_VOXELS) return null;
  const { values, brain, shape } = padded(data, inside, whole, 2),
    own = where(values, brain);
  if (own.every((value) => value === own[0])) return null;
  const ranks = ranked(values, brain),
    depth = depthOf(brain, shape);
  const numbers = [
    histogram(own),
    contrast(ranks, brain, depth, shape),
    sharpness(values, brain, shape),
    noise(ranks, brain, depth, shape),
    size(brain, shape),
  ].flat();
  return Object.fromEntries(
    Object.values(GROUPS)
      .flat()
      .map((name, i) => [name, numbers[i]]),
  );
}

function padded(data: Float32Array, inside: Mask, whole: Shape, margin: number) {
  const { low, high } = boxOf(inside, whole),
    shape = whole.map((_, i) => high[i] - low[i] + 2 * margin) as Shape;
  const values = new Float32Array(count(shape)),
    brain = new Uint8Array(values.length);
  for (let z = low[2]; z < high[2]; z++)
    for (let y = low[1]; y < high[1]; y++)
      for (let x = low[0]; x < high[0]; x++) {
        const from = x + whole[0] * (y + whole[1] * z);
        if (!inside[from]) continue;
        const to = x - low[0] + margin + shape[0] * (y - low[1] + margin + shape[1] * (z - low[2] + margin));
        values[to] = data[from];
        brain[to] = 1;
      }
  return { values, brain, shape };
}

/** Return the share of the brain's voxels that are darker, halves counted for ties; 0 outside. */
function ranked(values: Float32Array, brain: Mask): Float32Array {
  const step = (value: number) => Math.floor(Math.min(Math.max(value * 4096, 0), 4095)),
    counts = new Float64Array(4096);
  values.forEach((value, i) => {
    if (brain[i]) counts[step(value)] += 1;
  });
  let before = 0;
  const all = sum(counts),
    middle = counts.map((number) => (before += number) - number / 2).map((number) => number / all);
  return values.map((value, i) => (brain[i] ? middle[step(value)] : 0));
}

/** Return how far, in mm, each voxel is from what is not in the mask: the mean of a lower and an upper bound. */
function depthOf(mask: Mask, shape: Shape): Float32Array {
  const [near, far] = [steps(mask, shape, true), steps(mask, shape, false)];
  return Float32Array.from(near, (value, i) => (value + far[i]) * (SPACING / 2));
}

function histogram(own: Float32Array): number[] {
  const counts = new Float64Array(32);
  own.forEach((value) => {
    counts[Math.min(Math.floor(value * 32), 31)] += 1;
  });
  const entropy = counts
    .filter((n) => n > 0)
    .map((n) => n / own.length)
    .reduce((all, p) => all - p * Math.log(p), 0);
  return [...quantiles(own, LEVELS), entropy];
}

function contrast(ranks: Float32Array, brain: Mask, depth: Float32Array, shape: Shape): number[] {
  const shells = SHELLS.slice(1).map((high, i) =>
    where(
      ranks,
      both(brain, (k) => depth[k] > SHELLS[i] && depth[k] <= high),
    ),
  );
  const means = shells.map((shell) => (shell.length ? mean(shell) : 0.5)),
    rim = shells[0];
  const deep = where(
    ranks,
    both(brain, (i) => depth[i] > 24),
  );
  const shares = [deep.length ? deep : rim, rim].flatMap((part) => [
    part.filter((value) => value < 0.15).length / part.length,
    part.filter((value) => value > 0.85).length / part.length,
  ]);
  const smooth = smoothed(ranks, brain, shape, 2),
    mirror = (i: number) => i - (i % shape[0]) + shape[0] - 1 - (i % shape[0]);
  const shared = both(brain, (i) => brain[mirror(i)]);
  const symmetry = correlation(
    where(smooth, shared),
    where(
      smooth.map((_, i) => smooth[mirror(i)]),
      shared,
    ),
  );
  return [...means, ...shares, ...order(ranks, brain, depth, shape), symmetry];
}

/** Tell which tissue is next to which: by the distance from the darkest and the brightest, and by thin things. */
function order(ranks: Float32Array, brain: Mask, depth: Float32Array, shape: Shape): number[] {
  const soft = smoothed(ranks, brain, shape, 0.5);
  const found = [both(brain, (i) => soft[i] < 0.25), both(brain, (i) => soft[i] > 0.75)].map((extreme) => {
    const away = depthOf(
      extreme.map((value) => 1 - value),
      shape,
    );
    const near = both(brain, (i) => !extreme[i] && away[i] <= 9 && depth[i] > 4);
    return correlation(where(away, near), where(ranks, near));
  });
  const [fine, coarse] = [smoothed(ranks, brain, shape, 0.7), smoothed(ranks, brain, shape, 2)];
  const thin = where(
    fine.map((value, i) => value - coarse[i]),
    both(brain, (i) => depth[i] > 4),
  );
  const middle = thin.length ? mean(thin) : 0,
    deviation = thin.length ? deviationOf(thin) : 0;
  const skew = deviation ? mean(Float64Array.from(thin, (value) => (value - middle) ** 3)) / deviation ** 3 : 0;
  return [...found, Math.max(-3, Math.min(3, skew))];
}

/** Tell how much of the deviation is left under Gaussians, and how alike neighbours are along each axis. */
function sharpness(values: Float32Array, brain: Mask, shape: Shape): number[] {
  const whole = deviationOf(where(values, brain)) || 1;
  const left = [1, 2, 4].map((width) => deviationOf(where(smoothed(values, brain, shape, width), brain)) / whole);
  const along = strides(shape).map((step) => {
    // a margin of 2 voxels keeps the next one in its line
    const pairs = both(brain, (i) => brain[i + step]);
    const alike = correlation(
      where(values, pairs),
      where(
        values.map((_, i) => values[i + step]),
        pairs,
      ),
    );
    return Math.atanh(Math.min(Math.max(alike, -0.9999), 0.9999));
  });
  return [...left, ...along];
}

function noise(ranks: Float32Array, brain: Mask, depth: Float32Array, shape: Shape): number[] {
  const parts = [0, 1, 2].map((axis) => correlate(ranks, shape, axis, [1, -2, 1], "reflect"));
  let local: Float32Array = ranks.map(
    (_, i) => (Math.abs(parts[0][i]) + Math.abs(parts[1][i]) + Math.abs(parts[2][i])) / 3,
  );
  for (const axis of [0, 1, 2]) local = correlate(local, shape, axis, [1 / 3, 1 / 3, 1 / 3], "reflect");
  const deep = both(brain, (i) => depth[i] > 2 * SPACING),
    own = where(local, deep.includes(1) ? deep : brain);
  const [low] = quantiles(own, [0.25]);
  return [Math.log(low + 1e-4), Math.log((low + 1e-4) / (mean(own) + 1e-4))];
}

function size(brain: Mask, shape: Shape): number[] {
  const places: number[][] = [[], [], []],
    step = strides(shape);
  let faces = 0;
  brain.forEach((inside, i) => {
    if (inside)
      [i % shape[0], Math.floor(i / step[1]) % shape[1], Math.floor(i / step[2])].forEach((x, axis) =>
        places[axis].push(x),
      );
    for (const one of step) faces += Number(i >= one && brain[i] !== brain[i - one]);
  });
  const extents = places.map((line) => {
    const [low, high] = quantiles(line, [0.01, 0.99]);
    return ((high - low) * SPACING) / 100;
  });
  const ml = places[0].length * ML;
  return [Math.log(ml), ...extents, Math.log((faces * SPACING ** 2) / (1000 * ml) ** (2 / 3))];
}

/** Smooth within the brain alone. */
function smoothed(values: Float32Array, brain: Mask, shape: Shape, width: number): Float32Array {
  const widths = [width, width, width],
    weight = gaussian(brain, shape, widths, 3, "reflect");
  return gaussian(values, shape, widths, 3, "reflect").map((value, i) =>
    brain[i] ? value / Math.max(weight[i], 1e-6) : 0,
  );
}

function deviationOf(values: Float32Array): number {
  const middle = mean(values);
  return Math.sqrt(mean(Float64Array.from(values, (value) => (value - middle) ** 2)));
}

function correlation(a: Float32Array, b: Float32Array): number {
  const [first, second] = [mean(a), mean(b)];
  const shared = sum(Float64Array.from(a, (value, i) => (value - first) * (b[i] - second))) / a.length;
  return shared / (deviationOf(a) * deviationOf(b)) || 0;
}

/** Return how many deviations a row lies from the mean, per feature. */
function distance(row: number[], centre: number[], inverse: number[][]): number {
  const off = row.map((value, i) => value - centre[i]);
  const square = sum(off.map((value, i) => value * sum(off.map((other, k) => other * inverse[i][k]))));
  return Math.sqrt(Math.max(0, square) / off.length);
}

/** Tell the contrast of a scan: the likeliest, or "other" where the scan is far from all. */
export function recognise(found: Features, table: Contrasts): string {
  const row = table.features.map((name) => found[name]);
  const away = Object.entries(table.means).map(([name, centre]) => ({
    name,
    far: distance(row, centre, table.inverse),
  }));
  const logit = ({ name, far }: { name: string; far: number }) =>
    Math.log(PRIORS[name] ?? 1) - (row.length * far ** 2) / 2;
  const likeliest = away.reduce((best, one) => (logit(one) > logit(best) ? one : best));
  return Math.min(...away.map(({ far }) => far)) / table.usual <= table.margin ? likeliest.name : "other";
}

/** Say how a scan is unlike a model's healthy ones, so that nothing should be detected; "" where it is not. */
export function unlike(found: Features | null, { contrasts, limit }: Likeness): string {
  if (!found) return "too little of it is brain";
  const all = Object.entries(contrasts).map(([contrastName, groups]) => {
    const far = Object.entries(groups).map(([group, { mean: centre, inverse }]) => ({
      group,
      far: distance(
        GROUPS[group].map((name) => found[name]),
        centre,
        inverse,
      ),
    }));
    return { contrastName, far, number: Math.sqrt(mean(far.map((one) => one.far ** 2))) };
  });
  const nearest = all.reduce((best, one) => (one.number < best.number ? one : best));
  if (nearest.number <= limit) return "";
  const worst = nearest.far.reduce((best, one) => (one.far > best.far ? one : best));
  return `${worst.group} not that of healthy scans, nearest ${nearest.contrastName}`;
}
