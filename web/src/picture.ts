// Axial slices as a picture, for print and where there is no WebGL.
import type { Mask } from "./filters.ts";
import { type Grid, nearest } from "./grid.ts";

declare class FileReaderSync {
  // of workers alone
  readAsDataURL(blob: Blob): string;
}
interface Drawn {
  scan: Float32Array;
  healed: Float32Array;
  score: Float32Array;
  detection: Mask;
}
const SLICES = 4,
  MAGNIFIED = 2;
/** From black over red and orange to a pale yellow. */
const HOT = [
  [0, 0, 0],
  [122, 16, 32],
  [255, 122, 26],
  [255, 243, 160],
];

/** Draw slices of all four beside one another; returns a PNG as a data URL. ranges: what is black, and what white. */
export async function drawn(images: Drawn, grid: Grid, ranges: [number, number][], native: Grid): Promise<string> {
  const [nx, ny, nz] = grid.shape,
    mask = nearest(images.detection, native, grid);
  const canvas = new OffscreenCanvas(4 * nx * MAGNIFIED, SLICES * ny * MAGNIFIED),
    context = canvas.getContext("2d");
  if (!context) throw new Error("no canvas");
  const small = new OffscreenCanvas(4 * nx, SLICES * ny),
    plain = small.getContext("2d");
  if (!plain) throw new Error("no canvas");
  const picture = plain.createImageData(4 * nx, SLICES * ny),
    filled = zs(images.scan, nx * ny, nz);
  const share = (value: number, [low, high]: [number, number]) =>
    Math.min(Math.max((value - low) / (high - low), 0), 1);
  for (let s = 0; s < SLICES; s++) {
    const z = filled[Math.floor(((s + 1) / (SLICES + 1)) * filled.length)];
    for (let y = 0; y < ny; y++)
      for (let x = 0; x < nx; x++) {
        const from = x + nx * (y + ny * z),
          grey = (values: Float32Array) => new Array(3).fill(255 * share(values[from], ranges[0]));
        const marked = mask[from] ? [255, 90, 31] : grey(images.scan);
        const colours = [
          grey(images.scan),
          grey(images.healed),
          hot(share(images.score[from], [0, ranges[2][1]])),
          marked,
        ];
        colours.forEach((colour, column) => {
          const to = 4 * (column * nx + (nx - 1 - x) + 4 * nx * (s * ny + (ny - 1 - y)));
          picture.data.set([...colour, 255], to);
        });
      }
  }
  plain.putImageData(picture, 0, 0);
  context.drawImage(small, 0, 0, canvas.width, canvas.height);
  const bytes = await canvas.convertToBlob({ type: "image/png" });
  return new FileReaderSync().readAsDataURL(bytes);
}

/** List the slices that hold any brain. */
function zs(scan: Float32Array, area: number, count: number): number[] {
  return Array.from({ length: count }, (_, z) => z).filter((z) =>
    scan.subarray(z * area, (z + 1) * area).some((value) => value > 0),
  );
}

function hot(share: number): number[] {
  const place = share * (HOT.length - 1),
    low = Math.min(Math.floor(place), HOT.length - 2);
  return HOT[low].map((value, i) => value + (place - low) * (HOT[low + 1][i] - value));
}
