// Masks brought onto another grid by coverage, so that nothing bleeds and nothing small vanishes: carry_mask of
// uadtools/grids/grid.py.
import { type Mask, type Shape, components, strides } from "./filters.ts";
import {
  type Grid,
  type Matrix,
  type Triple,
  AXES,
  at,
  corners,
  count,
  determinant,
  each,
  inverse,
  mapping,
  nearestPlaces,
  same,
} from "./grid.ts";

/** Share of a voxel that rounding may take from what covers half of it. */
const TIE = 1e-4;

/** Bring a mask onto another grid: what is half covered, and of components that would vanish as much as they had. */
export function carryMask(mask: Mask, source: Grid, target: Grid): Mask {
  if (same(source, target)) return mask.slice();
  const m = mapping(source, target);
  const carried = Uint8Array.from(coverage(mask, source.shape, m, target.shape), (share) => Number(share > 0.5 - TIE));
  const onward = inverse(m),
    scale = 1 / Math.abs(determinant(m));
  for (const voxels of components(mask, source.shape))
    restore(voxels, source.shape, m, onward, scale, carried, target.shape);
  return carried;
}

/** Give a component that kept less than half of its volume the voxels that hold most of it. */
function restore(
  voxels: number[],
  from: Shape,
  m: Matrix,
  onward: Matrix,
  scale: number,
  carried: Mask,
  to: Shape,
): void {
  const placed = voxels.map((v): Triple => [
    v % from[0],
    Math.floor(v / from[0]) % from[1],
    Math.floor(v / from[0] / from[1]),
  ]);
  const begin = each((i) => placed.reduce((least, p) => Math.min(least, p[i]), Infinity));
  const size = each((i) => placed.reduce((most, p) => Math.max(most, p[i]), 0) - begin[i] + 1) as Shape;
  const ends = corners(size, -0.5, -0.5).map((p) =>
    at(
      onward,
      each((i) => p[i] + begin[i]),
    ),
  );
  const low = each((i) => Math.min(Math.max(Math.floor(Math.min(...ends.map((p) => p[i]))), 0), to[i]));
  const high = each((i) => Math.min(Math.max(Math.ceil(Math.max(...ends.map((p) => p[i]))) + 1, 0), to[i]));
  if (low.some((value, i) => value >= high[i])) return;
  const box = each((i) => high[i] - low[i]) as Shape,
    part = new Uint8Array(count(size));
  for (const p of placed) part[p[0] - begin[0] + size[0] * (p[1] - begin[1] + size[1] * (p[2] - begin[2]))] = 1;
  const first = at(m, low),
    there = [...m];
  AXES.forEach((r) => {
    there[4 * r + 3] = first[r] - begin[r];
  });
  const share = coverage(part, size, there, box, 3);
  const onto = (i: number) =>
    low[0] +
    (i % box[0]) +
    to[0] * (low[1] + (Math.floor(i / box[0]) % box[1]) + to[1] * (low[2] + Math.floor(i / box[0] / box[1])));
  const touched = [...share.keys()].filter((i) => share[i] > 0);
  const volume = Math.min(
    voxels.length * scale,
    share.reduce((sum, value) => sum + value, 0),
  );
  const kept = touched.filter((i) => carried[onto(i)]).length;
  if (kept && 2 * kept >= volume) return;
  const rounded = (i: number) => Math.round(share[i] * 1e6);
  // of equal ones the first as NumPy counts, z fastest
  const place = (i: number) =>
    Math.floor(i / box[0] / box[1]) + box[2] * ((Math.floor(i / box[0]) % box[1]) + box[1] * (i % box[0]));
  touched.sort((a, b) => rounded(b) - rounded(a) || place(a) - place(b));
  for (const i of touched.slice(0, Math.max(1, Math.round(volume)))) carried[onto(i)] = 1;
}

/** Return the covered share of each target voxel: exact where axes are parallel, else asked at points in it. */
function coverage(mask: Mask, from: Shape, m: Matrix, to: Shape, least = 1): Float32Array {
  const largest = Math.max(...AXES.flatMap((r) => AXES.map((c) => Math.abs(m[4 * r + c]))));
  const straight = (r: number, c: number) => Math.abs(m[4 * r + c]) > 1e-6 * largest;
  const of = AXES.map((c) => AXES.findIndex((r) => straight(r, c)));
  const parallel = AXES.every((r) => AXES.filter((c) => straight(r, c)).length === 1) && new Set(of).size === 3;
  return parallel ? exactCoverage(mask, from, m, to, of) : askedCoverage(mask, from, m, to, least);
}

function exactCoverage(mask: Mask, from: Shape, m: Matrix, to: Shape, of: number[]): Float32Array {
  let share: Float32Array = Float32Array.from(mask),
    shape = from;
  for (const c of AXES) {
    // each source axis shrinks to the target axis along it; they are put in order at the end
    const r = of[c],
      [step, start] = [m[4 * r + c], m[4 * r + 3]];
    const next = each((i) => (i === r ? to[c] : shape[i])) as Shape,
      out = new Float32Array(count(next));
    const [old, now] = [strides(shape)[r], strides(next)[r]];
    for (let i = 0; i < to[c]; i++) {
      const low = start + step * i - Math.abs(step) / 2,
        high = low + Math.abs(step);
      for (let s = Math.max(0, Math.floor(low + 0.5)); s < shape[r] && s - 0.5 < high; s++) {
        const weight = Math.max(Math.min(high, s + 0.5) - Math.max(low, s - 0.5), 0) / Math.abs(step);
        const outer = count(shape) / (old * shape[r]);
        for (let b = 0; b < outer; b++) {
          const [read, write] = [b * old * shape[r] + s * old, b * now * to[c] + i * now];
          for (let a = 0; a < old; a++) out[write + a] += weight * share[read + a];
        }
      }
    }
    [share, shape] = [out, next];
  }
  const step = strides(shape),
    ordered = new Float32Array(count(to));
  let place = 0;
  for (let z = 0; z < to[2]; z++)
    for (let y = 0; y < to[1]; y++)
      for (let x = 0; x < to[0]; x++) {
        ordered[place++] = share[x * step[of[0]] + y * step[of[1]] + z * step[of[2]]];
      }
  return ordered;
}

function askedCoverage(mask: Mask, from: Shape, m: Matrix, to: Shape, least: number): Float32Array {
  const counts = each((c) => {
    const wanted = Math.max(Math.ceil(Math.hypot(m[c], m[4 + c], m[8 + c]) - 1e-3), least);
    return Math.floor(wanted / 2) * 2 + 1;
  });
  const covered = new Float32Array(count(to)),
    point = (i: number, n: number) => (i + 0.5) / n - 0.5;
  for (let i = 0; i < counts[0]; i++)
    for (let j = 0; j < counts[1]; j++)
      for (let k = 0; k < counts[2]; k++) {
        const first = at(m, [point(i, counts[0]), point(j, counts[1]), point(k, counts[2])]),
          there = [...m];
        AXES.forEach((r) => {
          there[4 * r + 3] = first[r];
        });
        nearestPlaces(there, from, to).forEach((place, t) => {
          if (place >= 0) covered[t] += mask[place];
        });
      }
  return covered.map((value) => value / (counts[0] * counts[1] * counts[2]));
}
