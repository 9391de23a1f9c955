// Files: what is written is read again, and what is no scan of a head is refused in a sentence.
import assert from "node:assert/strict";
import { test } from "node:test";
import type { Shape } from "../src/filters.ts";
import { read, write } from "../src/nifti.ts";

const shape: Shape = [12, 11, 10],
  affine = [-1.5, 0, 0.1, 9, 0, 2, 0, -8, 0.1, 0, 3, 4, 0, 0, 0, 1];
const voxels = Float32Array.from({ length: 12 * 11 * 10 }, (_, i) => i / 7);
const file = (bytes: Uint8Array, name = "scan.nii.gz") => new File([bytes as BlobPart], name);
async function changed(change: (view: DataView) => void): Promise<File> {
  const packed = new Blob([(await write(voxels, { shape, affine })) as BlobPart])
    .stream()
    .pipeThrough(new DecompressionStream("gzip"));
  const bytes = await new Response(packed).arrayBuffer();
  change(new DataView(bytes));
  return file(new Uint8Array(bytes), "changed.nii");
}
const told = async (given: File, words: RegExp) => assert.rejects(read(given), words);

test("a volume is read as it was written, and written where its header said it lies", async () => {
  const scan = await read(file(await write(voxels, { shape, affine })));
  assert.deepEqual([scan.data, scan.grid.shape], [voxels, shape]);
  scan.grid.affine.forEach((value, i) => assert.ok(Math.abs(value - affine[i]) < 1e-6));
  const again = await read(file(await write(scan.data, scan.grid, { like: scan.header })));
  assert.deepEqual([again.data, again.grid], [scan.data, scan.grid]);
});

test("shorts are read by their slope", async () => {
  const scan = await read(
    file(
      await write(
        Int16Array.from(voxels, (_, i) => i - 5),
        { shape, affine },
        { slope: 0.5 },
      ),
    ),
  );
  assert.deepEqual([scan.data[0], scan.data[9]], [-2.5, 2]);
});

test("the qform counts where there is no sform, and without either a scan is refused", async () => {
  const turned = await changed((view) => {
    view.setInt16(252, 1, true);
    view.setInt16(254, 0, true);
    view.setFloat32(76, -1, true);
    [0, 0, 1, 5, 6, 7].forEach((value, i) => view.setFloat32(256 + 4 * i, value, true));
  });
  const { grid } = await read(turned),
    [x, y, z] = [Math.hypot(1.5, 0.1), 2, Math.hypot(3, 0.1)];
  [-x, 0, 0, 5, 0, -y, 0, 6, 0, 0, -z, 7].forEach((value, i) => assert.ok(Math.abs(grid.affine[i] - value) < 1e-5));
  await told(await changed((view) => view.setInt16(254, 0, true)), /left and right are a guess/);
});

test("what is no 3-D scan of a head gets a sentence", async () => {
  await told(
    new File([new Uint8Array([0xff, 0xd8, 0xff, ...new Array(999).fill(7)])], "photo.jpg"),
    /photo.jpg: is no NIfTI/,
  );
  await told(new File([], "nothing.nii"), /is no NIfTI/);
  await told(
    await changed((view) => [4, 12, 11, 10, 200].forEach((n, i) => view.setInt16(40 + 2 * i, n, true))),
    /200 volumes/,
  );
  await told(
    await changed((view) => [3, 512, 512, 512].forEach((n, i) => view.setInt16(40 + 2 * i, n, true))),
    /512 x 512 x 512 .* uad-run/,
  );
  await told(
    await changed((view) => [3, 512, 512, 1].forEach((n, i) => view.setInt16(40 + 2 * i, n, true))),
    /no 3-D scan/,
  );
  await told(await changed((view) => view.setInt16(70, 128, true)), /colours/);
  await told(await changed((view) => view.setFloat32(352, NaN, true)), /NaN/);
  await told(file((await write(voxels, { shape, affine })).slice(0, 900)), /damaged/);
  await told(
    file(new Uint8Array(await (await changed(() => null)).slice(0, 3000).arrayBuffer()), "cut.nii"),
    /ends before/,
  );
});
