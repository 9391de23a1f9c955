// From a scan as a scanner wrote it to what the model sees: uadtools/preparing, with the brain from a mask, or of a
// scan whose skull is gone.
import { type Mask, fillHoles, quantiles, where } from "./filters.ts";
import {
  type Grid,
  type Triple,
  at,
  count,
  croppedGrid,
  each,
  inverse,
  multiply,
  oriented,
  resample,
  same,
  spacedGrid,
  spacing,
  voxelMl,
} from "./grid.ts";
import { Told } from "./told.ts";

export interface Intensity {
  kind: string;
  low: number;
  high: number;
}
export interface Prepared {
  /** In [0, 1], above 0 exactly inside the brain. */
  data: Float32Array;
  brain: Mask;
  grid: Grid;
  concerns: string[];
}
interface Raw {
  data: Float32Array;
  grid: Grid;
}

/** In mL; no adult's brain is smaller or larger, every scan with scalp is; less than the last is no brain. */
const SMALLEST_BRAIN = 800,
  LARGEST_BRAIN = 2200,
  LEAST_BRAIN = 100;
/** In cm2 of brain on a border, as share of the brain beyond it, and in mm before it. */
const CUT_BRAIN = 10,
  MISSING_BRAIN = 0.01,
  TAPER = 10;
/** Smallest value inside the brain. */
const FLOOR = 1e-3;

/** Prepare a scan for a model. brain: a mask on its grid, or null. Throws Told where a mask is needed, or empty. */
export function prepare(scan: Raw, brain: Raw | null, shape: Triple, size: Triple, intensity: Intensity): Prepared {
  if (scan.data.every((value) => value === scan.data[0]))
    throw new Told("All voxels have one value (is this the right file?).");
  const { data, grid } = oriented(grounded(scan.data, scan.grid), scan.grid);
  const mask = brain ? given(brain, scan.grid) : found(data, grid);
  const concerns = doubts(mask, grid);
  const soft = Float32Array.from(mask),
    spaced = spacedGrid(grid, size);
  const small = resample(soft, grid, spaced),
    { low, high } = extent(small, spaced);
  if (!(high[0] >= low[0])) throw new Told("The brain mask is empty (give a better one).");
  const target = croppedGrid(
    spaced,
    shape,
    each((i) => (low[i] + high[i]) / 2),
  );
  const inside = Uint8Array.from(resample(soft, grid, target), (share) => Number(share > 0.5));
  return {
    data: percentile(resample(data, grid, target), inside, intensity),
    brain: inside,
    grid: target,
    concerns: [...concerns, ...cutOff(mask, grid, target)],
  };
}

/** Make a constant background 0, below the rest. */
export function grounded(data: Float32Array, grid: Grid): Float32Array {
  const value = backgroundValue(data, grid);
  if (!value) return data;
  const outside = background(data, value);
  const [dark] = quantiles(
    where(
      data,
      outside.map((empty) => 1 - empty),
    ),
    [0.01],
  );
  const lowest = Math.min(value, dark);
  return data.map((voxel, i) => (outside[i] ? 0 : voxel - Math.fround(lowest)));
}

/** Return the value that more than half of the voxels along the 12 edges of a volume hold, else 0. */
export function backgroundValue(data: Float32Array, { shape: [nx, ny, nz] }: Grid): number {
  const edges: number[] = [],
    end = (i: number, n: number) => Number(i === 0 || i === n - 1);
  for (let z = 0; z < nz; z++)
    for (let y = 0; y < ny; y++) {
      const ends = end(z, nz) + end(y, ny),
        row = nx * (y + ny * z);
      if (ends === 2) edges.push(...data.subarray(row, row + nx));
      if (ends === 1) edges.push(data[row], data[row + nx - 1]);
    }
  const [value] = quantiles(edges, [0.5]);
  return 2 * background(Float32Array.from(edges), value).reduce((a, b) => a + b, 0) > edges.length ? value : 0;
}

function background(data: Float32Array, value: number): Mask {
  const off = 1e-5 * Math.abs(value);
  return Uint8Array.from(data, (voxel) => Number(Math.abs(voxel - value) <= off));
}

function given(brain: Raw, grid: Grid): Mask {
  if (!same(brain.grid, grid)) throw new Told("The brain mask lies on another grid than the scan (resample it first).");
  const mask = oriented(
    Uint8Array.from(brain.data, (value) => Number(value > 0.5)),
    brain.grid,
  ).data;
  if (!mask.includes(1)) throw new Told("The brain mask is empty (give a better one).");
  return mask;
}

/** Take what is not background for brain, where skull and scalp are gone. Throws Told where they are not. */
function found(data: Float32Array, grid: Grid): Mask {
  const empty = background(data, backgroundValue(data, grid)),
    rest = empty.reduce((sum, value) => sum + 1 - value, 0);
  const volume = rest * voxelMl(grid);
  if (!(rest < 0.6 * empty.length && volume < LARGEST_BRAIN)) {
    throw new Told(
      "The scan has its skull, and this page cannot take it off: give its brain mask, too, or a scan without skull.",
    );
  }
  const mask = fillHoles(
    empty.map((value) => 1 - value),
    grid.shape,
  );
  const filled = mask.reduce((a, b) => a + b, 0) * voxelMl(grid);
  if (filled < LEAST_BRAIN)
    throw new Told(`What is in the scan has ${filled.toFixed(0)} mL, which is no brain (give a mask).`);
  return mask;
}

/** Say what is strange about a brain mask: its size, and how much of it the scan cuts off. */
function doubts(brain: Mask, grid: Grid): string[] {
  const volume = brain.reduce((a, b) => a + b, 0) * voxelMl(grid),
    told: string[] = [];
  if (volume < SMALLEST_BRAIN || volume > LARGEST_BRAIN) {
    told.push(`The brain has ${volume.toFixed(0)} mL; ${SMALLEST_BRAIN} to ${LARGEST_BRAIN} is what adults have.`);
  }
  const cuts = [0, 1, 2].flatMap((axis) => cutsOf(brain, grid, axis)).filter(([area]) => area > CUT_BRAIN);
  if (cuts.reduce((sum, [, missing]) => sum + missing, 0) > MISSING_BRAIN * volume) {
    const area = cuts.reduce((sum, [one]) => sum + one, 0);
    told.push(`The brain touches the border of the scan over ${area.toFixed(0)} cm2, so a part of it is missing.`);
  }
  return told;
}

/** Return, at both ends of an axis, the area of brain in cm2 and how much is beyond, in mL, if it tapers to there. */
function cutsOf(brain: Mask, grid: Grid, axis: number): [number, number][] {
  const sizes = spacing(grid),
    areas = new Array<number>(grid.shape[axis]).fill(0),
    [nx, ny] = grid.shape;
  brain.forEach((inside, i) => {
    if (inside)
      areas[[i % nx, Math.floor(i / nx) % ny, Math.floor(i / nx / ny)][axis]] +=
        (sizes[0] * sizes[1] * sizes[2]) / sizes[axis] / 100;
  });
  const inner = Math.min(Math.max(1, Math.round(TAPER / sizes[axis])), areas.length - 1);
  return [areas, [...areas].reverse()].map((line) => {
    const falls = (line[inner] - line[0]) / ((inner * sizes[axis]) / 10);
    return [line[0], falls > 0 ? line[0] ** 2 / (2 * falls) : Infinity];
  });
}

/** Say how much of a brain lies outside the model's grid. */
function cutOff(brain: Mask, grid: Grid, target: Grid): string[] {
  const onto = multiply(inverse(target.affine), grid.affine),
    [nx, ny] = grid.shape;
  let all = 0,
    outside = 0;
  brain.forEach((inside, i) => {
    if (!inside) return;
    const place = at(onto, [i % nx, Math.floor(i / nx) % ny, Math.floor(i / nx / ny)]);
    all += 1;
    outside += Number(place.some((x, axis) => x < -0.5 || x > target.shape[axis] - 0.5));
  });
  return outside < 0.001 * all
    ? []
    : [`${((100 * outside) / all).toFixed(1)}% of the brain lies outside the model's grid and is cut off.`];
}

/** Return the first and the last place above a half along each axis. */
function extent(share: Float32Array, grid: Grid): { low: Triple; high: Triple } {
  const low: Triple = [Infinity, Infinity, Infinity],
    high: Triple = [-1, -1, -1],
    [nx, ny] = grid.shape;
  for (let i = 0; i < count(grid.shape); i++) {
    if (share[i] <= 0.5) continue;
    [i % nx, Math.floor(i / nx) % ny, Math.floor(i / nx / ny)].forEach((x, axis) => {
      low[axis] = Math.min(low[axis], x);
      high[axis] = Math.max(high[axis], x);
    });
  }
  return { low, high };
}

/** Map two percentiles inside the brain to 0 and 1, and cut off beyond; 0 outside. */
export function percentile(data: Float32Array, brain: Mask, { low, high }: Intensity): Float32Array {
  const [bottom, top] = quantiles(where(data, brain), [low / 100, high / 100]);
  if (!(top > bottom))
    throw new Told("The brain is all of one value (is this the right file, or the right brain mask?).");
  return data.map((value, i) => (brain[i] ? Math.min(Math.max((value - bottom) / (top - bottom), FLOOR), 1) : 0));
}
