// NIfTI files: read as uadtools reads them, refused in a sentence where they are no scan of a head, and written.
import * as nifti from "nifti-reader-js";
import type { Mask, Shape, Values } from "./filters.ts";
import { type Grid, type Matrix, count, each, spacing } from "./grid.ts";
import { Told } from "./told.ts";

type Header = nifti.NIFTI1 | nifti.NIFTI2;
export interface Scan {
  data: Float32Array;
  grid: Grid;
  header: Header;
}

/** A page's memory holds several copies of a scan of this many voxels, about 400 cubed. */
const MOST_VOXELS = 2 ** 26;
const MM = [1, 1000, 1, 0.001];
const KINDS: Record<number, new (buffer: ArrayBuffer) => Values> = {
  2: Uint8Array,
  4: Int16Array,
  8: Int32Array,
  16: Float32Array,
  64: Float64Array,
  256: Int8Array,
  512: Uint16Array,
  768: Uint32Array,
};

/** Read a scan or a mask. Throws Told for what is none. */
export async function read(file: File): Promise<Scan> {
  const packed = await isGzip(file);
  const start = await bytesOf(file, packed, 1000, file.name);
  if (!nifti.isNIFTI(start))
    throw new Told(`${file.name}: is no NIfTI file (give a .nii or .nii.gz, or a folder of DICOM).`);
  const header = nifti.readHeader(start),
    shape = shapeOf(header, file.name);
  const Kind = KINDS[header.datatypeCode];
  if (!Kind) throw new Told(`${file.name}: its voxels are colours or complex numbers, not intensities.`);
  const size = count(shape) * (header.numBitsPerVoxel / 8),
    whole = await bytesOf(file, packed, Infinity, file.name);
  const voxels = whole.slice(header.vox_offset, header.vox_offset + size);
  if (voxels.byteLength < size) throw new Told(`${file.name}: ends before its last voxel (get the file again).`);
  const raw = new Kind(header.littleEndian ? voxels : swapped(voxels, header.numBitsPerVoxel / 8));
  const slope = Number.isFinite(header.scl_slope) && header.scl_slope ? header.scl_slope : 1;
  const inter = Number.isFinite(header.scl_slope) && header.scl_slope ? header.scl_inter : 0;
  const data = Float32Array.from(raw, (value) => value * slope + inter);
  if (!data.every(Number.isFinite)) {
    throw new Told(`${file.name}: holds NaN or infinity, which this page does not take (uad-run --nan 0 does).`);
  }
  return { data, grid: { shape, affine: affineOf(header, file.name) }, header };
}

async function isGzip(file: File): Promise<boolean> {
  const [a, b] = new Uint8Array(await file.slice(0, 2).arrayBuffer());
  return a === 0x1f && b === 0x8b;
}

/** Return the first bytes of a file, unpacked, at least `least` of them where it has as many. */
async function bytesOf(file: File, packed: boolean, least: number, name: string): Promise<ArrayBuffer> {
  if (!packed) return (least < Infinity ? file.slice(0, least) : file).arrayBuffer();
  const reader = file.stream().pipeThrough(new DecompressionStream("gzip")).getReader(),
    parts: Uint8Array[] = [];
  let length = 0;
  try {
    for (let part = await reader.read(); !part.done; part = await reader.read()) {
      parts.push(part.value);
      length += part.value.length;
      if (length >= least) break;
    }
    await reader.cancel();
  } catch {
    throw new Told(`${name}: its compression is damaged (get the file again).`);
  }
  return new Blob(parts as BlobPart[]).arrayBuffer();
}

/** Return the three sizes. Throws Told for what is no volume of a head. */
function shapeOf({ dims, pixDims }: Header, name: string): Shape {
  const shape = each((i) => (i < dims[0] ? dims[i + 1] : 1)) as Shape;
  const volumes = dims.slice(4, dims[0] + 1).reduce((product, n) => product * Math.max(n, 1), 1);
  const size = shape.join(" x ");
  if (volumes > 1)
    throw new Told(`${name}: has ${volumes} volumes, as functional or diffusion MRI has; one scan is needed.`);
  if (Math.min(...shape) < 10) throw new Told(`${name}: has ${size} voxels, which is no 3-D scan of a head.`);
  if (count(shape) > MOST_VOXELS) {
    const most = "about 400 cubed";
    throw new Told(`${name}: has ${size} voxels, more than a page can hold (${most}); uad-run takes it.`);
  }
  const smallest = Math.min(...pixDims.slice(1, 4).map(Math.abs));
  if (!(smallest < 100)) throw new Told(`${name}: has voxels of ${pixDims.slice(1, 4).join(" x ")} mm.`);
  return shape;
}

/** Return where voxels lie, in RAS mm: by the sform, else by the qform. Throws Told where the header says neither. */
function affineOf(header: Header, name: string): Matrix {
  const unit = MM[header.xyzt_units & 7];
  const rows = header.sform_code > 0 ? header.affine : header.qform_code > 0 ? qformOf(header) : null;
  if (!rows || !unit) {
    throw new Told(
      `${name}: does not say where its voxels lie, so that left and right are a guess (uad-run --geometry).`,
    );
  }
  const affine = rows
    .slice(0, 3)
    .flat()
    .map((value) => value * unit)
    .concat(0, 0, 0, 1);
  const sizes = spacing({ shape: [1, 1, 1], affine });
  if (!sizes.every((size) => size > 0.005 && size < 100))
    throw new Told(`${name}: has voxels of ${sizes.join(" x ")} mm.`);
  return affine;
}

function qformOf(header: Header): number[][] {
  const {
    quatern_b: b,
    quatern_c: c,
    quatern_d: d,
    qoffset_x,
    qoffset_y,
    qoffset_z,
    pixDims,
    qfac,
  } = header as nifti.NIFTI1;
  const a = Math.sqrt(Math.max(0, 1 - b * b - c * c - d * d)),
    sizes = [pixDims[1], pixDims[2], pixDims[3] * (qfac < 0 ? -1 : 1)];
  const turn = [
    [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
    [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
    [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - b * b - c * c],
  ];
  return turn.map((row, r) => [...row.map((value, i) => value * sizes[i]), [qoffset_x, qoffset_y, qoffset_z][r]]);
}

function swapped(buffer: ArrayBuffer, size: number): ArrayBuffer {
  const bytes = new Uint8Array(buffer);
  for (let i = 0; i < bytes.length; i += size) bytes.subarray(i, i + size).reverse();
  return buffer;
}

/** Write a volume as .nii.gz, placed as its grid is, or in the words of the header of the scan on that grid. */
export async function write(
  data: Float32Array | Int16Array | Mask,
  grid: Grid,
  more: Partial<Written> = {},
): Promise<Uint8Array> {
  const bytes = new Uint8Array(352 + data.byteLength),
    view = new DataView(bytes.buffer),
    { like, slope = 1, low = 0, high = 0 } = more;
  const code = data instanceof Float32Array ? 16 : data instanceof Int16Array ? 4 : 2;
  const shorts = (first: number, ...numbers: number[]) =>
    numbers.forEach((n, i) => view.setInt16(first + 2 * i, n, true));
  const floats = (first: number, ...numbers: number[]) =>
    numbers.forEach((n, i) => view.setFloat32(first + 4 * i, n, true));
  const sizes = spacing(grid),
    unit = like ? MM[like.xyzt_units & 7] : 1;
  view.setInt32(0, 348, true);
  shorts(40, 3, ...grid.shape, 1, 1, 1, 1);
  shorts(70, code, 8 * data.BYTES_PER_ELEMENT);
  floats(76, like ? like.pixDims[0] : 1, ...sizes.map((size) => size / unit), 0, 0, 0, 0);
  floats(108, 352, slope, 0);
  bytes[123] = like ? like.xyzt_units & 7 : 2;
  floats(124, high, low);
  shorts(252, like ? like.qform_code : 0, like ? like.sform_code : 2);
  if (like) floats(256, like.quatern_b, like.quatern_c, like.quatern_d, like.qoffset_x, like.qoffset_y, like.qoffset_z);
  floats(280, ...grid.affine.slice(0, 12).map((value) => value / unit));
  bytes.set([0x6e, 0x2b, 0x31], 344); // "n+1"
  bytes.set(new Uint8Array(data.buffer, data.byteOffset, data.byteLength), 352);
  const packed = new Blob([bytes]).stream().pipeThrough(new CompressionStream("gzip"));
  return new Uint8Array(await new Response(packed).arrayBuffer());
}

interface Written {
  like: Header;
  slope: number;
  low: number;
  high: number;
}
export type { Header };
