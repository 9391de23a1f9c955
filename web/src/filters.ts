// What SciPy's ndimage does, as far as the page needs it: on volumes whose voxels lie x fastest, as in NIfTI.
export type Shape = [number, number, number];
export type Values =
  Float32Array | Int16Array | Uint16Array | Int32Array | Uint32Array | Int8Array | Uint8Array | Float64Array;
/** 0 or 1. */
export type Mask = Uint8Array;
export type Border = "nearest" | "reflect";

export const strides = ([x, y]: Shape): Shape => [1, x, x * y];

/** Return the place that stands for one beyond the end of a line of n: the last (nearest), or the mirrored one. */
function beyond(i: number, n: number, border: Border): number {
  if (border === "nearest") return Math.min(Math.max(i, 0), n - 1);
  const turn = ((i % (2 * n)) + 2 * n) % (2 * n);
  return turn < n ? turn : 2 * n - 1 - turn;
}

/** Weigh each voxel and its neighbours along one axis; weights are of odd number, the middle one the voxel's own. */
export function correlate(data: Values, shape: Shape, axis: number, weights: number[], border: Border): Float32Array {
  const out = new Float32Array(data.length),
    step = strides(shape)[axis],
    n = shape[axis],
    reach = (weights.length - 1) / 2;
  const line = new Float64Array(n + 2 * reach);
  const sources = Int32Array.from(line, (_, i) => beyond(i - reach, n, border) * step);
  for (let block = 0; block < data.length; block += step * n) {
    for (let first = block; first < block + step; first++) {
      for (let i = 0; i < line.length; i++) line[i] = data[first + sources[i]];
      for (let i = 0; i < n; i++) {
        let sum = 0;
        for (let k = 0; k < weights.length; k++) sum += weights[k] * line[i + k];
        out[first + i * step] = sum;
      }
    }
  }
  return out;
}

/** Smooth with a Gaussian of these deviations in voxels, cut off at `truncate` of them. */
export function gaussian(
  data: Values,
  shape: Shape,
  widths: readonly number[],
  truncate: number,
  border: Border,
): Float32Array {
  let out: Float32Array = Float32Array.from(data);
  widths.forEach((width, axis) => {
    if (!width) return;
    const reach = Math.floor(truncate * width + 0.5);
    const bell = Array.from({ length: 2 * reach + 1 }, (_, i) => Math.exp((-0.5 * (i - reach) ** 2) / width ** 2));
    const sum = bell.reduce((a, b) => a + b);
    out = correlate(
      out,
      shape,
      axis,
      bell.map((value) => value / sum),
      border,
    );
  });
  return out;
}

/** Replace each voxel of a box by the median of the size^3 around it, mirrored at the volume's border. */
export function median(data: Float32Array, shape: Shape, size: number): Float32Array {
  const out = new Float32Array(data.length),
    reach = (size - 1) / 2,
    [nx, ny] = shape,
    window = new Float32Array(size ** 3);
  const { low, high } = boxOf(data, shape, reach);
  const places = shape.map((n) =>
    Int32Array.from({ length: n + 2 * reach }, (_, i) => beyond(i - reach, n, "reflect")),
  );
  for (let z = low[2]; z < high[2]; z++)
    for (let y = low[1]; y < high[1]; y++)
      for (let x = low[0]; x < high[0]; x++) {
        let filled = 0;
        for (let k = 0; k < size; k++)
          for (let j = 0; j < size; j++)
            for (let i = 0; i < size; i++) {
              window[filled++] = data[places[0][x + i] + nx * (places[1][y + j] + ny * places[2][z + k])];
            }
        out[x + nx * (y + ny * z)] = window.sort()[(filled - 1) / 2];
      }
  return out;
}

/** Return the smallest box that holds what is not 0, with a margin as far as there are voxels; of nothing, all. */
export function boxOf(data: Values, shape: Shape, margin = 0): { low: Shape; high: Shape } {
  const low: Shape = [...shape],
    high: Shape = [0, 0, 0];
  let place = 0;
  for (let z = 0; z < shape[2]; z++)
    for (let y = 0; y < shape[1]; y++)
      for (let x = 0; x < shape[0]; x++) {
        if (!data[place++]) continue;
        const here = [x, y, z];
        for (let i = 0; i < 3; i++) {
          if (here[i] < low[i]) low[i] = here[i];
          if (here[i] >= high[i]) high[i] = here[i] + 1;
        }
      }
  if (!high[0]) return { low: [0, 0, 0], high: [...shape] };
  const cut = (value: number, i: number) => Math.min(Math.max(value, 0), shape[i]);
  return { low: low.map((n, i) => cut(n - margin, i)) as Shape, high: high.map((n, i) => cut(n + margin, i)) as Shape };
}

/** Cut a box out of a volume. */
export function cut<T extends Values>(data: T, shape: Shape, low: Shape, high: Shape): { data: T; shape: Shape } {
  const size = shape.map((_, i) => high[i] - low[i]) as Shape,
    out = data.slice(0, size[0] * size[1] * size[2]) as T;
  for (let z = 0; z < size[2]; z++)
    for (let y = 0; y < size[1]; y++) {
      const from = low[0] + shape[0] * (low[1] + y + shape[1] * (low[2] + z));
      out.set(data.subarray(from, from + size[0]), size[0] * (y + size[1] * z));
    }
  return { data: out, shape: size };
}

type Spread = (place: number, tell: (neighbour: number) => void) => void;

/** Return what tells a voxel's neighbours: those that share a face, or a corner, too. */
function neighbours(shape: Shape, corners: boolean): Spread {
  const [nx, ny, nz] = shape,
    ways: number[][] = [];
  for (let k = -1; k < 2; k++)
    for (let j = -1; j < 2; j++)
      for (let i = -1; i < 2; i++) {
        const far = Math.abs(i) + Math.abs(j) + Math.abs(k);
        if (far === 1 || (corners && far)) ways.push([i, j, k, i + nx * (j + ny * k)]);
      }
  return (place, tell) => {
    const x = place % nx,
      y = Math.floor(place / nx) % ny,
      z = Math.floor(place / nx / ny);
    for (const [i, j, k, step] of ways) {
      if (x + i >= 0 && x + i < nx && y + j >= 0 && y + j < ny && z + k >= 0 && z + k < nz) tell(place + step);
    }
  };
}

/** List the voxels of each 26-connected component. */
export function components(mask: Mask, shape: Shape): number[][] {
  const around = neighbours(shape, true),
    seen = new Uint8Array(mask.length),
    found: number[][] = [];
  for (let first = 0; first < mask.length; first++) {
    if (!mask[first] || seen[first]) continue;
    const voxels = [first];
    seen[first] = 1;
    for (let i = 0; i < voxels.length; i++) {
      around(voxels[i], (place) => {
        if (!mask[place] || seen[place]) return;
        seen[place] = 1;
        voxels.push(place);
      });
    }
    found.push(voxels);
  }
  return found;
}

/** Fill what is closed in by a mask on all sides. */
export function fillHoles(mask: Mask, shape: Shape): Mask {
  const around = neighbours(shape, false),
    out = new Uint8Array(mask.length).fill(1),
    queue = new Int32Array(mask.length);
  const [nx, ny, nz] = shape;
  let filled = 0;
  const reach = (place: number) => {
    if (mask[place] || !out[place]) return;
    out[place] = 0;
    queue[filled++] = place;
  };
  for (let place = 0; place < mask.length; place++) {
    const x = place % nx,
      y = Math.floor(place / nx) % ny,
      z = Math.floor(place / nx / ny);
    if (!x || !y || !z || x === nx - 1 || y === ny - 1 || z === nz - 1) reach(place);
  }
  for (let i = 0; i < filled; i++) around(queue[i], reach);
  return out;
}

/** Return how many steps each voxel of a mask is from what is not in it: over faces, or over corners, too. */
export function steps(mask: Mask, shape: Shape, corners: boolean): Int32Array {
  const around = neighbours(shape, corners),
    out = new Int32Array(mask.length).fill(-1),
    queue = new Int32Array(mask.length);
  let filled = 0;
  mask.forEach((inside, place) => {
    if (inside) return;
    out[place] = 0;
    queue[filled++] = place;
  });
  for (let i = 0; i < filled; i++) {
    around(queue[i], (place) => {
      if (out[place] >= 0) return;
      out[place] = out[queue[i]] + 1;
      queue[filled++] = place;
    });
  }
  return out;
}

/** Return the quantiles of numbers at levels from 0 to 1, linear between the two nearest. */
export function quantiles(values: Iterable<number>, levels: readonly number[]): number[] {
  const sorted = Float64Array.from(values).sort();
  return levels.map((level) => {
    const place = level * (sorted.length - 1),
      low = Math.floor(place);
    return sorted[low] + (place - low) * (sorted[Math.min(low + 1, sorted.length - 1)] - sorted[low]);
  });
}

export function where(data: Float32Array, mask: ArrayLike<unknown>): Float32Array {
  return data.filter((_, i) => mask[i]);
}
