// From scan and healed scan to a score and a detection: uadtools/scoring, with the model's own metric and chain.
import { type Mask, type Shape, components, gaussian, median } from "./filters.ts";
import { carryMask } from "./carry.ts";
import { type Grid, type Triple, at, each, nearest, voxelMl } from "./grid.ts";

export interface Chain {
  median: number;
  smooth: number;
  min_size: number;
}
export interface Finding {
  ml: number;
  /** A voxel near its middle, in RAS mm. */
  place: Triple;
  mean: number;
  peak: number;
}

/** Smallest score inside the brain. */
const LEAST = 1e-6;

/** Score each voxel: |scan - healed| sqrt(probability) / expected of healthy scans there; 0 outside the brain. */
export function score(
  scan: Float32Array,
  healed: Float32Array,
  probability: Float32Array,
  expected: Float32Array,
  brain: Mask,
): Float32Array {
  return scan.map((value, i) => {
    if (!brain[i]) return 0;
    const sure = Math.sqrt(Math.min(Math.max(probability[i], 0), 1));
    return Math.max((Math.abs(value - healed[i]) * sure) / expected[i], LEAST);
  });
}

/** Return a reference, which is known at every second voxel, z fastest, at every voxel of a grid, linearly. */
export function onGrid(reference: Float32Array, of: Shape, shape: Shape): Float32Array {
  const out = new Float32Array(shape[0] * shape[1] * shape[2]),
    [nx, ny, nz] = of;
  const ends = (i: number, n: number): [number, number] => [Math.min(i >> 1, n - 1), Math.min((i + 1) >> 1, n - 1)];
  let place = 0;
  for (let z = 0; z < shape[2]; z++)
    for (let y = 0; y < shape[1]; y++)
      for (let x = 0; x < shape[0]; x++) {
        let all = 0;
        for (const i of ends(x, nx))
          for (const j of ends(y, ny)) for (const k of ends(z, nz)) all += reference[k + nz * (j + ny * i)];
        out[place++] = all / 8;
      }
  return out;
}

/** Return the score as the threshold sees it, and what is above that without small components. */
export function detect(
  values: Float32Array,
  brain: Mask,
  shape: Shape,
  chain: Chain,
  threshold: number,
): { smooth: Float32Array; detection: Mask } {
  const { median: window, smooth: width } = chain;
  const smooth = gaussian(median(values, shape, window), shape, [width, width, width], 4, "reflect"),
    level = Math.fround(threshold);
  const above = Uint8Array.from(smooth, (value, i) => Number(brain[i] && value > level)),
    detection = new Uint8Array(above.length);
  for (const voxels of components(above, shape)) {
    if (voxels.length >= chain.min_size) for (const place of voxels) detection[place] = 1;
  }
  return { smooth, detection };
}

/** Put a detection on the grid of the scan, and list what is in it, the largest first. */
export function native(
  detection: Mask,
  smooth: Float32Array,
  here: Grid,
  scan: Grid,
): { mask: Mask; findings: Finding[] } {
  const mask = carryMask(detection, here, scan),
    values = nearest(smooth, here, scan),
    [nx, ny] = scan.shape;
  const placed = (i: number): Triple => [i % nx, Math.floor(i / nx) % ny, Math.floor(i / nx / ny)];
  const findings = components(mask, scan.shape).map((voxels) => {
    const places = voxels.map(placed),
      middle = each((i) => places.reduce((sum, p) => sum + p[i], 0) / places.length);
    const far = (p: Triple) => Math.hypot(...p.map((x, i) => x - middle[i]));
    const centre = places.reduce((best, p) => (far(p) < far(best) ? p : best));
    const scores = voxels.map((i) => values[i]);
    return {
      ml: voxels.length * voxelMl(scan),
      place: at(scan.affine, centre),
      mean: scores.reduce((a, b) => a + b, 0) / scores.length,
      peak: scores.reduce((a, b) => Math.max(a, b)),
    };
  });
  return { mask, findings: findings.sort((a, b) => b.ml - a.ml) };
}
