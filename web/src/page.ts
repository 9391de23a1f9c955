// The page: takes files, hands them to the worker, and shows the report that comes back.
import type { Answer, Asked } from "./work.ts";

const byId = <T extends HTMLElement>(id: string) => document.getElementById(id) as T;
const [scanInput, folderInput, maskInput] = ["scan", "folder", "mask"].map((id) => byId<HTMLInputElement>(id));
const [status, bar, problem, result] = ["status", "bar", "problem", "result"].map((id) => byId(id));
const frame = byId<HTMLIFrameElement>("report");
const asked: { scan: File | null; brain: File | null } = { scan: null, brain: null };
let worker: Worker | null = null,
  links: string[] = [];

function begin(): void {
  if (!asked.scan) return tell("", "Give the scan, too: this is its brain mask.");
  worker?.terminate();
  worker = new Worker("work.js", { type: "module" });
  worker.onmessage = ({ data }: MessageEvent<Answer>) => answered(data);
  worker.onerror = () =>
    tell("", "This browser cannot run the page's programs (a current Firefox, Chrome, Edge or Safari does).");
  clear();
  const message: Asked = { scan: asked.scan, brain: asked.brain };
  worker.postMessage(message);
}

function clear(): void {
  result.hidden = true;
  frame.removeAttribute("src");
  links.forEach(URL.revokeObjectURL);
  links = [];
  document.body.dataset.state = "working";
  tell("Starting", "");
}

function answered(answer: Answer): void {
  if (answer.kind === "doing") return tell(answer.text, "", answer.share);
  worker?.terminate();
  worker = asked.brain = null; // the next scan has another brain
  if (answer.kind === "failed") return tell("", answer.text);
  const stem = (asked.scan?.name ?? "scan").replace(/\.nii(\.gz)?$|\.gz$/i, "");
  byId("downloads").replaceChildren(
    ...Object.entries(answer.files).map(([name, blob]) => {
      const link = document.createElement("a"),
        item = document.createElement("li");
      links.push((link.href = URL.createObjectURL(blob)));
      if (name === "report.html") frame.src = link.href;
      link.download = `${stem}_${name}`;
      link.textContent = name;
      item.append(link);
      return item;
    }),
  );
  result.hidden = false;
  tell(`Done: ${answer.summary}`, "");
  document.body.dataset.state = "done";
  byId("found").focus();
}

/** Say how far it is, or what is wrong. */
function tell(text: string, wrong: string, share?: number): void {
  status.textContent = text;
  problem.textContent = wrong;
  problem.hidden = !wrong;
  bar.hidden = share === undefined;
  if (share !== undefined) (bar as HTMLProgressElement).value = share;
  if (wrong) document.body.dataset.state = "failed";
}

/** Take files: NIfTI, of which one called a mask is the brain's, or a folder of DICOM, which becomes NIfTI first. */
async function take(files: File[]): Promise<void> {
  const images = files.filter(({ name }) => /\.(nii|gz)$/i.test(name)),
    masks = images.filter(({ name }) => /mask|brain\b/i.test(name));
  if (images.length === 2 && masks.length === 1) {
    return takeScan(images.find((image) => image !== masks[0]) as File, masks[0]);
  }
  if (images.length > 1)
    return tell("", `These are ${images.length} images: give one scan (and its brain mask, called so, beside it).`);
  if (images.length === 1) return takeScan(images[0]);
  if (files.length > 1 || /^[^.]*$|\.(dcm|ima)$/i.test(files[0]?.name ?? ".")) return convert(files);
  if (files.length) takeScan(files[0]);
}

/** Begin with a scan. brain: its mask, by default one that was given before it. */
function takeScan(file: File, brain = asked.brain): void {
  Object.assign(asked, { scan: file, brain });
  byId("series").replaceChildren();
  begin();
}

/** Make NIfTI of a folder of DICOM with dcm2niix; of several series one is to be chosen. */
async function convert(files: File[]): Promise<void> {
  clear();
  tell("Reading the DICOM files", "", 0);
  const { Dcm2niix } = await import("@niivue/dcm2niix");
  const converter = new Dcm2niix();
  try {
    await converter.init();
    const made: File[] = await converter.input(files).b("n").z("n").f("%s_%d").run();
    const images = made.filter(({ name }) => name.endsWith(".nii"));
    if (images.length < 2)
      return images[0] ? takeScan(images[0]) : tell("", "No DICOM image was found in these files.");
    tell("These are several series: choose one.", "");
    byId("series").replaceChildren(
      ...images.map((image) => {
        const button = document.createElement("button");
        button.type = "button";
        button.textContent = image.name.replace(/\.nii$/, "");
        button.addEventListener("click", () => takeScan(image));
        return button;
      }),
    );
  } catch {
    tell("", "No DICOM image could be read in these files (give a .nii or .nii.gz, or the folder of one series).");
  } finally {
    converter.worker?.terminate();
  }
}

/** List the files of what was dropped, folders and all. */
async function dropped(items: DataTransferItemList): Promise<File[]> {
  const entries = [...items].map((item) => item.webkitGetAsEntry()).filter((entry) => entry !== null);
  const walk = async (entry: FileSystemEntry): Promise<File[]> => {
    if (entry.isFile)
      return [await new Promise<File>((tellIt, fail) => (entry as FileSystemFileEntry).file(tellIt, fail))];
    const reader = (entry as FileSystemDirectoryEntry).createReader(),
      inside: FileSystemEntry[] = [];
    for (;;) {
      // a reader tells at most a hundred at a time
      const some = await new Promise<FileSystemEntry[]>((tellIt, fail) => reader.readEntries(tellIt, fail));
      if (!some.length) return (await Promise.all(inside.map(walk))).flat();
      inside.push(...some);
    }
  };
  return (await Promise.all(entries.map(walk))).flat();
}

function choose(input: HTMLInputElement, then: (files: File[]) => void): void {
  input.addEventListener("change", () => {
    then([...(input.files ?? [])]);
    input.value = "";
  });
}

choose(scanInput, (files) => void take(files));
choose(folderInput, (files) => void convert(files));
choose(maskInput, ([file]) => {
  asked.brain = file;
  begin();
});
byId("example").addEventListener("click", async () => {
  takeScan(new File([await (await fetch("example.nii.gz")).arrayBuffer()], "patient19_FLAIR.nii.gz"), null);
});
document.addEventListener("dragover", (event) => event.preventDefault());
document.addEventListener("drop", async (event) => {
  event.preventDefault();
  if (event.dataTransfer) await take(await dropped(event.dataTransfer.items));
});
frame.addEventListener("load", () => {
  // the report is as tall as it is
  const inner = frame.contentDocument?.documentElement;
  if (inner && frame.src)
    new ResizeObserver(() => {
      frame.style.height = `${inner.scrollHeight + 2}px`;
    }).observe(inner);
});

/** Keep the page for when there is no network; load it anew once, as it is the service worker that allows threads. */
async function keep(): Promise<void> {
  await navigator.serviceWorker.register("offline.js");
  await navigator.serviceWorker.ready;
  byId("offline").hidden = false;
  if (crossOriginIsolated || document.body.dataset.state || sessionStorage.getItem("reloaded")) return;
  sessionStorage.setItem("reloaded", "yes");
  location.reload();
}

if ("serviceWorker" in navigator) await keep().catch(() => null); // else it works, but does not say that it is kept
document.body.dataset.ready = "true";
