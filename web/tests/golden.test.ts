// The page against uadtools: golden.json holds what golden.py had it compute.
import assert from "node:assert/strict";
import { test } from "node:test";
import zlib from "node:zlib";
import golden from "./golden.json";
import type { Shape } from "../src/filters.ts";
import { carryMask } from "../src/carry.ts";
import type { Grid, Matrix } from "../src/grid.ts";
import { features, recognise, unlike } from "../src/likeness.ts";
import { prepare } from "../src/prepare.ts";
import { detect, onGrid, score } from "../src/score.ts";
import contrasts from "../../uadtools/anatomy/contrast.json";

interface Packed {
  shape: number[];
  type: string;
  gzip: string;
}
function values({ type, gzip }: Packed): Float32Array {
  const bytes = new Uint8Array(zlib.gunzipSync(Buffer.from(gzip, "base64")));
  const kinds: Record<string, new (buffer: ArrayBuffer) => ArrayLike<number>> = {
    uint8: Uint8Array,
    int16: Int16Array,
    float32: Float32Array,
  };
  return Float32Array.from(new kinds[type](bytes.buffer));
}
const mask = (packed: Packed) => Uint8Array.from(values(packed));
const shapeOf = ({ shape }: { shape: number[] }) => shape as Shape;
const gridOf = ({ shape, affine }: { shape: number[]; affine: number[] }): Grid => ({
  shape: shape as Shape,
  affine: affine as Matrix,
});
function near(made: ArrayLike<number>, wanted: ArrayLike<number>, off: number): void {
  assert.equal(made.length, wanted.length);
  for (let i = 0; i < made.length; i++)
    assert.ok(Math.abs(made[i] - wanted[i]) <= off, `${i}: ${made[i]}, not ${wanted[i]}`);
}
const unequal = (a: Uint8Array, b: Uint8Array) => a.reduce((sum, value, i) => sum + Number(value !== b[i]), 0);

test("a scan is brought onto the model's grid and intensities", () => {
  const { raw, grid, made } = golden.prepared,
    wanted = gridOf(made.grid);
  const got = prepare({ data: values(raw), grid: gridOf(grid) }, null, wanted.shape, [4.4, 4.4, 4.4], {
    kind: "percentile",
    low: 1,
    high: 99,
  });
  assert.deepEqual(got.grid.shape, wanted.shape);
  near(got.grid.affine, wanted.affine, 1e-9);
  assert.equal(unequal(got.brain, mask(made.brain)), 0);
  near(got.data, values(made.scan), 1e-5);
});

test("a mask given for the brain does the same", () => {
  const { raw, grid, made } = golden.prepared,
    wanted = gridOf(made.grid),
    data = values(raw);
  const brain = { data: data.map((value) => Number(value > -7)), grid: gridOf(grid) };
  const got = prepare({ data, grid: gridOf(grid) }, brain, wanted.shape, [4.4, 4.4, 4.4], {
    kind: "percentile",
    low: 1,
    high: 99,
  });
  near(got.data, values(made.scan), 1e-5);
});

test("a scan with its skull, a small thing and an empty one are refused in a sentence", () => {
  const { raw, grid, made } = golden.prepared,
    all = gridOf(grid),
    shape = shapeOf(made.grid);
  const asked = (data: Float32Array, size: Grid) => () =>
    prepare({ data, grid: size }, null, shape, [4.4, 4.4, 4.4], { kind: "percentile", low: 1, high: 99 });
  const large = { ...all, affine: all.affine.map((value, i) => (i % 4 === 3 || i > 11 ? value : value * 2)) };
  const small = { ...all, affine: all.affine.map((value, i) => (i % 4 === 3 || i > 11 ? value : value * 0.3)) };
  assert.throws(asked(values(raw), large), /has its skull/);
  assert.throws(asked(values(raw), small), /no brain/);
  assert.throws(asked(values(raw).fill(3), all), /one value/);
});

test("features, contrast and likeness are those of uadtools", () => {
  const { scan, features: wanted, contrast } = golden.likeness,
    data = values(scan);
  const got = features(
    data,
    Uint8Array.from(data, (value) => Number(value > 0)),
    shapeOf(scan),
  );
  assert.ok(got);
  assert.deepEqual(Object.keys(got), Object.keys(wanted));
  for (const [name, value] of Object.entries(wanted))
    assert.ok(Math.abs(got[name] - value) < 1e-4, `${name}: ${got[name]}, not ${value}`);
  assert.equal(recognise(got, contrasts), contrast);
});

test("what is far from healthy scans is told with what is farthest, and too little of a brain, too", () => {
  const { features: found } = golden.likeness,
    names = { noise: ["noise", "evenness"], histogram: ["q05", "q10", "q25", "q50", "q75", "q90", "entropy"] };
  const group = (of: string[], away: number) => ({
    mean: of.map((name) => (found as Record<string, number>)[name] - away),
    inverse: of.map((_, i) => of.map((_, k) => Number(i === k))),
  });
  const table = (away: number) => ({
    contrasts: { T1: { noise: group(names.noise, away), histogram: group(names.histogram, 0.5) } },
    limit: 1,
    scans: 10,
  });
  assert.equal(unlike(found, table(0)), "");
  assert.match(unlike(found, table(3)), /^noise .* nearest T1$/);
  assert.match(unlike(null, table(0)), /too little/);
});

test("score, filters and detection are those of uadtools", () => {
  const { scan, brain, healed, probability, reference, threshold, made } = golden.scored,
    shape = shapeOf(scan);
  const expected = onGrid(values(reference), [14, 15, 13], shape);
  const got = score(values(scan), values(healed), values(probability), expected, mask(brain));
  near(got, values(made.score), 2e-5);
  const { smooth, detection } = detect(
    values(made.score),
    mask(brain),
    shape,
    { median: 3, smooth: 0.7, min_size: 4 },
    threshold,
  );
  near(smooth, values(made.smooth), 1e-6);
  assert.ok(mask(made.detection).includes(1));
  assert.equal(unequal(detection, mask(made.detection)), 0);
});

for (const [name, { grid, mask: wanted }] of Object.entries(golden.carried.made)) {
  test(`a detection is carried onto a grid that is ${name}`, () => {
    const got = carryMask(mask(golden.carried.mask), gridOf(golden.carried.grid), gridOf(grid));
    assert.ok(got.includes(1));
    assert.equal(unequal(got, mask(wanted)), 0);
  });
}
