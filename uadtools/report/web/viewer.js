// Shows the embedded volumes with NiiVue, and moves its crosshair to findings.
const byId = (id) => document.getElementById(id);

async function unpacked(id) {
  const bytes = Uint8Array.from(atob(byId(id).textContent), (c) => c.charCodeAt(0));
  return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).text();
}

// What lies below the first colour is black and, of the layers above the lowest, not there; so is nothing else of greys. Its
// colour bleeds into the edges of what is drawn, so beside a healed scan it is black for all, else a mask's or a score's own.
function colormap({ colours, grey }, lowest, beside) {
  const [first, ...rest] = colours.length > 1 ? colours : [colours[0], colours[0]];
  const parts = grey || lowest || beside ? ["#000000", first, ...rest] : [first, ...rest];
  const channel = (at) => parts.map((colour) => parseInt(colour.slice(at, at + 2), 16));
  const begin = parts.length - rest.length - 1;
  const places = parts.map((_, i) => (i < begin ? 0 : begin + Math.round(((255 - begin) * (i - begin)) / rest.length)));
  const alpha = places.map((place) => (lowest ? place : place && 255)); // in 3-D one looks into the lowest
  return { R: channel(1), G: channel(3), B: channel(5), A: alpha, I: places };
}

async function start({ layers }) {
  const script = document.createElement("script");
  script.textContent = await unpacked("niivue");
  document.head.append(script);
  const { Niivue, NVImage, SLICE_TYPE, SHOW_RENDER, MULTIPLANAR_TYPE, DRAG_MODE } = niivue;
  const nv = new Niivue({
    isRadiologicalConvention: true, multiplanarShowRender: SHOW_RENDER.NEVER, multiplanarLayout: MULTIPLANAR_TYPE.GRID,
    dragMode: DRAG_MODE.windowing, dragAndDropEnabled: false, crosshairColor: [0.5, 0.85, 0.6, 1], crosshairGap: 8,
    crosshairWidth: 0.5, crosshairWidthUnit: "mm", show3Dcrosshair: true, logLevel: "silent", loadingText: "",
  });
  await nv.attachToCanvas(byId("canvas"));
  layers.forEach((layer, i) => nv.addColormap(layer.role, colormap(layer, i === 0)));
  const volumes = await Promise.all(layers.map((layer) => NVImage.loadFromBase64({
    base64: layer.nifti, name: `${layer.role}.nii.gz`, colormap: layer.role, opacity: layer.shown ? layer.opacity : 0,
    cal_min: layer.low, cal_max: layer.high,
  })));
  nv.volumes.push(...volumes.slice(0, -1)); // each that is added draws all again
  nv.addVolume(volumes.at(-1));
  controls(nv, layers, SLICE_TYPE);
  navigation(nv);
  setTimeout(() => { // slices come first where there is no graphics processor
    nv.opts.multiplanarShowRender = SHOW_RENDER.ALWAYS;
    nv.drawScene();
  });
}

function controls(nv, layers, SLICE_TYPE) {
  const grey = layers.flatMap((layer, i) => (layer.grey ? [i] : []));
  const blend = byId("blend"), healed = layers.findIndex((layer) => layer.role === "healed");
  const redraw = () => {
    const beside = nv.volumes[healed]?.opacity > 0;
    layers.forEach((layer, i) => nv.addColormap(layer.role, colormap(layer, i === 0, beside)));
    nv.updateGLVolume();
  };
  layers.forEach((layer, i) => {
    const [box, slider] = [byId(`show-${layer.role}`), byId(`opacity-${layer.role}`)];
    byId(`swatch-${layer.role}`).style.background = `linear-gradient(to right, ${[...layer.colours, layer.colours.at(-1)]})`;
    const apply = () => {
      nv.volumes[i].opacity = box.checked ? slider.value / 100 : 0;
      if (blend && i === healed) blend.value = box.checked ? slider.value : 0;
      redraw();
    };
    box.addEventListener("change", apply);
    slider.addEventListener("input", () => { box.checked = true; apply(); });
  });
  blend?.addEventListener("input", () => {
    byId("show-healed").checked = blend.value > 0;
    byId("opacity-healed").value = blend.value;
    nv.volumes[healed].opacity = blend.value / 100;
    redraw();
  });

  const { low, high } = layers[0], reach = 1.5 * (high - low) || 1;
  const [from, to] = [byId("low"), byId("high")];
  const show = (a, b) => {
    from.value = (1000 * (a - low)) / reach;
    to.value = (1000 * (b - low)) / reach;
    for (const i of grey) Object.assign(nv.volumes[i], { cal_min: a, cal_max: b });
    redraw();
  };
  const chosen = () => {
    const [a, b] = [from, to].map((slider) => low + (reach * slider.value) / 1000);
    show(Math.min(a, b), Math.max(b, a + reach / 1000));
  };
  from.addEventListener("input", chosen);
  to.addEventListener("input", chosen);
  nv.onIntensityChange = () => show(nv.volumes[0].cal_min, nv.volumes[0].cal_max);
  show(low, high);

  const zoom = (factor) => {
    const [x, y, z, now] = nv.scene.pan2Dxyzmm, next = factor ? Math.min(Math.max(now * factor, 0.5), 20) : 1;
    const at = nv.frac2mm(nv.scene.crosshairPos);
    nv.setPan2Dxyzmm(factor ? [x, y, z].map((pan, i) => pan + (now - next) * at[i]).concat(next) : [0, 0, 0, 1]);
    if (!factor) show(low, high);
  };
  const views = { multi: "MULTIPLANAR", axial: "AXIAL", coronal: "CORONAL", sagittal: "SAGITTAL", render: "RENDER" };
  const buttons = document.querySelectorAll("[data-view]");
  for (const button of buttons) {
    button.addEventListener("click", () => {
      for (const other of buttons) other.setAttribute("aria-pressed", other === button);
      nv.setSliceType(SLICE_TYPE[views[button.dataset.view]]);
    });
  }
  for (const button of document.querySelectorAll("[data-zoom]")) {
    button.addEventListener("click", () => zoom(Number(button.dataset.zoom)));
  }
  const moves = { ArrowLeft: [1, 0, 0], ArrowRight: [-1, 0, 0], ArrowUp: [0, 1, 0], ArrowDown: [0, -1, 0],
    PageUp: [0, 0, 1], PageDown: [0, 0, -1] };
  document.querySelector(".stage").addEventListener("keydown", (event) => {
    if (event.target.id !== "canvas" || event.ctrlKey || event.metaKey || event.altKey) return;
    event.stopPropagation(); // NiiVue has keys of its own, which nothing here tells of
    if (event.key in moves) nv.moveCrosshairInVox(...moves[event.key]);
    else if ("+=-".includes(event.key)) zoom(event.key === "-" ? 0.8 : 1.25);
    else if ("npNP".includes(event.key)) step("nN".includes(event.key) ? 1 : -1);
    else return;
    event.preventDefault();
  }, true);
}

function step(by) {
  const rows = [...document.querySelectorAll("#findings tbody tr")];
  const next = rows.findIndex((row) => row.hasAttribute("aria-current")) + by;
  rows.at(next % (rows.length || 1))?.click();
}

function navigation(nv) {
  const where = byId("where");
  nv.onLocationChange = ({ mm, values }) => {
    const numbers = values.filter(({ name }) => /^(scan|healed|score)/.test(name));
    const said = numbers.map(({ name, value }) => `${name.split(".")[0]} ${Number(value.toPrecision(3))}`);
    where.dataset.mm = [...mm].slice(0, 3).map((x) => x.toFixed(1));
    where.textContent = [`${where.dataset.mm.replaceAll(",", ", ")} mm`, ...said].join("  ·  ");
  };
  const rows = byId("findings")?.tBodies[0], box = rows?.closest(".scroll");
  rows?.addEventListener("click", (event) => {
    const row = event.target.closest("tr");
    for (const other of rows.rows) other.removeAttribute("aria-current");
    row.setAttribute("aria-current", "true");
    box.scrollTop = row.offsetTop - box.clientHeight / 2;
    nv.scene.crosshairPos = nv.mm2frac(row.dataset.mm.split(" ").map(Number), 0, true); // true: mm of the header
    nv.createOnLocationChange();
    nv.drawScene();
  });
  if (rows?.rows.length) rows.rows[0].click();
  else nv.createOnLocationChange();
}

if (byId("report")) {
  start(JSON.parse(byId("report").textContent)).then(
    () => document.body.setAttribute("data-ready", "true"),
    (error) => {
      console.warn(error);
      document.querySelector(".stage").hidden = byId("controls").hidden = true;
      byId("failed").hidden = false;
    },
  );
}
