// Where voxels lie in the world, and how a volume is brought onto another grid: uadtools/grids/grid.py, to the last bit
// that matters. Voxels lie as in NIfTI, x fastest; world coordinates are RAS millimetres.
import { type Mask, type Shape, type Values, gaussian, strides } from "./filters.ts";

export type Triple = [number, number, number];
/** Four rows of four, one after the other. */
export type Matrix = number[];
export interface Grid {
  shape: Shape;
  affine: Matrix;
}

export const AXES = [0, 1, 2] as const;

export const each = (make: (axis: number) => number): Triple => [make(0), make(1), make(2)];

export function multiply(a: Matrix, b: Matrix): Matrix {
  return a.map((_, i) => [0, 1, 2, 3].reduce((sum, k) => sum + a[i - (i % 4) + k] * b[4 * k + (i % 4)], 0));
}

/** Invert an affine matrix. Throws for one that has no inverse. */
export function inverse(m: Matrix): Matrix {
  const minor = (r: number, c: number) => {
    const [r1, r2, c1, c2] = [(r + 1) % 3, (r + 2) % 3, (c + 1) % 3, (c + 2) % 3];
    return m[4 * r1 + c1] * m[4 * r2 + c2] - m[4 * r1 + c2] * m[4 * r2 + c1];
  };
  const det = determinant(m);
  if (!det || !Number.isFinite(det)) throw new Error("no such grid");
  const rows = AXES.map((r) => AXES.map((c) => minor(c, r) / det));
  return [...rows.flatMap((row) => [...row, -(row[0] * m[3] + row[1] * m[7] + row[2] * m[11])]), 0, 0, 0, 1];
}

export function determinant(m: Matrix): number {
  return AXES.reduce<number>((sum, c) => {
    const [c1, c2] = [(c + 1) % 3, (c + 2) % 3];
    return sum + m[c] * (m[4 + c1] * m[8 + c2] - m[4 + c2] * m[8 + c1]);
  }, 0);
}

export function at(m: Matrix, [x, y, z]: Triple): Triple {
  return each((r) => m[4 * r] * x + m[4 * r + 1] * y + m[4 * r + 2] * z + m[4 * r + 3]);
}

function moved(grid: Grid, first: Triple): Matrix {
  const [x, y, z] = at(grid.affine, first);
  return grid.affine.map((value, i) => ({ 3: x, 7: y, 11: z })[i] ?? value);
}

export const count = (shape: Shape) => shape[0] * shape[1] * shape[2];
export const spacing = ({ affine }: Grid) => each((c) => Math.hypot(affine[c], affine[4 + c], affine[8 + c]));
/** Of a voxel, in millilitres. */
export const voxelMl = ({ affine }: Grid) => Math.abs(determinant(affine)) / 1000;

/** Tell whether two grids have one shape, and every voxel within a hundredth of a voxel of its counterpart. */
export function same(a: Grid, b: Grid): boolean {
  if (a.shape.some((n, i) => n !== b.shape[i])) return false;
  const onto = multiply(inverse(a.affine), b.affine);
  return corners(a.shape).every((corner) => at(onto, corner).every((x, i) => Math.abs(x - corner[i]) < 0.01));
}

export function corners(shape: Shape, low = 0, high = -1): Triple[] {
  return [0, 1, 2, 3, 4, 5, 6, 7].map((bits) => each((i) => ((bits >> i) & 1 ? shape[i] + high : low)));
}

/** Flip and permute axes so that they run closest to right, anterior and superior. Voxels keep their values. */
export function oriented<T extends Values | Mask>(data: T, grid: Grid): { data: T; grid: Grid } {
  const { source, flip } = axesOf(grid.affine);
  const shape = each((i) => grid.shape[source[i]]) as Shape;
  const step = strides(grid.shape),
    out = data.slice() as T;
  let place = 0;
  for (let z = 0; z < shape[2]; z++) {
    for (let y = 0; y < shape[1]; y++) {
      for (let x = 0; x < shape[0]; x++) {
        const here = [x, y, z];
        let from = 0;
        for (const i of AXES) from += step[source[i]] * (flip[i] ? shape[i] - 1 - here[i] : here[i]);
        out[place++] = data[from];
      }
    }
  }
  const back = new Array<number>(16).fill(0);
  for (const i of AXES) {
    back[4 * source[i] + i] = flip[i] ? -1 : 1;
    back[4 * source[i] + 3] = flip[i] ? shape[i] - 1 : 0;
  }
  back[15] = 1;
  return { data: out, grid: { shape, affine: multiply(grid.affine, back) } };
}

/** Say which array axis runs closest to each world axis, and whether it runs the other way. */
function axesOf(affine: Matrix): { source: Triple; flip: boolean[] } {
  const sizes = each((c) => Math.hypot(affine[c], affine[4 + c], affine[8 + c]));
  let turn: Matrix = affine.map((value, i) => (i % 4 === 3 || i > 11 ? Number(i === 15) : value / sizes[i % 4]));
  for (let i = 0; i < 50; i++) {
    // the nearest rotation, by Newton's iteration
    const other = inverse(turn);
    turn = turn.map((value, k) => (k === 15 ? 1 : (value + other[4 * (k % 4) + Math.floor(k / 4)]) / 2));
  }
  const source: Triple = [-1, -1, -1],
    flip = [false, false, false];
  const strongest = (c: number) => Math.max(...AXES.map((r) => Math.abs(turn[4 * r + c])));
  for (const c of [...AXES].sort((a, b) => strongest(b) - strongest(a))) {
    const free = AXES.filter((r) => source[r] < 0);
    const r = free.reduce((best, row) => (Math.abs(turn[4 * row + c]) > Math.abs(turn[4 * best + c]) ? row : best));
    source[r] = c;
    flip[r] = turn[4 * r + c] < 0;
  }
  return { source, flip };
}

/** Return a grid over the same box with another voxel size, axes and centre kept. */
export function spacedGrid(grid: Grid, size: Triple): Grid {
  const now = spacing(grid),
    scale = each((i) => size[i] / now[i]);
  const shape = each((i) => Math.max(1, Math.ceil(grid.shape[i] / scale[i] - 1e-3))) as Shape;
  const affine = grid.affine.map((value, i) => (i % 4 < 3 && i < 12 ? value * scale[i % 4] : value));
  const middle = at(
    grid.affine,
    each((i) => (grid.shape[i] - 1) / 2),
  );
  const begin = at(
    affine.map((value, i) => (i % 4 === 3 && i < 12 ? 0 : value)),
    each((i) => (shape[i] - 1) / 2),
  );
  AXES.forEach((r) => {
    affine[4 * r + 3] = middle[r] - begin[r];
  });
  return { shape, affine };
}

/** Return the grid of `shape` voxels, in step with `grid`, whose middle is nearest to a voxel of it. */
export function croppedGrid(grid: Grid, shape: Shape, centre: Triple): Grid {
  return {
    shape,
    affine: moved(
      grid,
      each((i) => roundEven(centre[i] - (shape[i] - 1) / 2)),
    ),
  };
}

/** Return the part of a grid from a voxel on. */
export const partOf = (grid: Grid, first: Triple, shape: Shape): Grid => ({ shape, affine: moved(grid, first) });

function roundEven(x: number): number {
  const low = Math.floor(x);
  return x - low === 0.5 ? low + Math.abs(low % 2) : Math.round(x);
}

/** Return the matrix from target voxels to source voxels, rounded so that ties go the same way everywhere. */
export function mapping(source: Grid, target: Grid): Matrix {
  return multiply(inverse(source.affine), target.affine).map((value) => Math.round(value * 1e9) / 1e9);
}

/** Visit the voxels of a target: their places there, and in the source. */
function visit(m: Matrix, shape: Shape, tell: (place: number, x: number, y: number, z: number) => void): void {
  let place = 0;
  for (let z = 0; z < shape[2]; z++) {
    for (let y = 0; y < shape[1]; y++) {
      for (let x = 0; x < shape[0]; x++) {
        tell(
          place++,
          m[3] + x * m[0] + y * m[1] + z * m[2],
          m[7] + x * m[4] + y * m[5] + z * m[6],
          m[11] + x * m[8] + y * m[9] + z * m[10],
        );
      }
    }
  }
}

/** Return which source voxel is nearest to each target voxel, -1 for none. */
export function nearestPlaces(m: Matrix, from: Shape, to: Shape): Int32Array {
  const places = new Int32Array(count(to)),
    [nx, ny, nz] = from;
  visit(m, to, (place, x, y, z) => {
    const [i, j, k] = [Math.floor(x + 0.5), Math.floor(y + 0.5), Math.floor(z + 0.5)];
    places[place] = i >= 0 && j >= 0 && k >= 0 && i < nx && j < ny && k < nz ? i + nx * (j + ny * k) : -1;
  });
  return places;
}

/** Give each voxel of another grid the value of the nearest voxel; 0 outside the source's. */
export function nearest(data: Values, source: Grid, target: Grid): Float32Array {
  const places = nearestPlaces(mapping(source, target), source.shape, target.shape);
  return Float32Array.from(places, (place) => (place < 0 ? 0 : data[place]));
}

/** Sample a volume linearly on another grid, after a Gaussian where that is coarser; 0 outside the source's voxels. */
export function resample(data: Values, source: Grid, target: Grid): Float32Array {
  if (same(source, target)) return Float32Array.from(data);
  const m = mapping(source, target),
    [nx, ny, nz] = source.shape;
  const widths = each((r) => {
    const step = Math.hypot(m[4 * r], m[4 * r + 1], m[4 * r + 2]);
    return step > 1.01 ? 0.5 * Math.sqrt(step * step - 1) : 0;
  });
  const smooth = gaussian(data, source.shape, widths, 4, "nearest");
  const places = nearestPlaces(m, source.shape, target.shape),
    out = new Float32Array(places.length);
  const within = (x: number, n: number) => Math.min(Math.max(x, 0), n - 1);
  visit(m, target.shape, (place, px, py, pz) => {
    if (places[place] < 0) return;
    const [x, y, z] = [within(px, nx), within(py, ny), within(pz, nz)];
    const [i, j, k] = [Math.floor(x), Math.floor(y), Math.floor(z)],
      [u, v, w] = [x - i, y - j, z - k];
    const first = i + nx * (j + ny * k);
    const [dx, dy, dz] = [i + 1 < nx ? 1 : 0, j + 1 < ny ? nx : 0, k + 1 < nz ? nx * ny : 0];
    const row = (from: number) => smooth[from] * (1 - u) + smooth[from + dx] * u;
    const plane = (from: number) => row(from) * (1 - v) + row(from + dy) * v;
    out[place] = plane(first) * (1 - w) + plane(first + dz) * w;
  });
  return out;
}
