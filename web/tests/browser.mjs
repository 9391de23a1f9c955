// node browser.mjs PAGE OUT SCAN WRONG...: opens a built page in Chromium, gives it a scan, then one without a network,
// and what it must refuse. Writes what it offers for download and screenshots to OUT, and tells the rest as JSON.
import fs from "node:fs";
import http from "node:http";
import { createRequire } from "node:module";
import path from "node:path";
import puppeteer from "puppeteer-core";

const [page, out, scan, ...wrong] = process.argv.slice(2);
const axe = fs.readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf-8");
const types = {
  ".html": "text/html",
  ".js": "text/javascript",
  ".mjs": "text/javascript",
  ".css": "text/css",
  ".wasm": "application/wasm",
};
const server = http.createServer((request, response) => {
  const file = path.join(page, new URL(request.url, "http://local").pathname.replace(/\/$/, "/index.html"));
  if (!file.startsWith(page) || !fs.existsSync(file)) return response.writeHead(404).end();
  response.writeHead(200, { "Content-Type": types[path.extname(file)] ?? "application/octet-stream" });
  fs.createReadStream(file).pipe(response);
});
await new Promise((ready) => server.listen(0, "127.0.0.1", ready));
const origin = `http://127.0.0.1:${server.address().port}`;
const gl = ["--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"];
const browser = await puppeteer.launch({
  executablePath: process.env.CHROMIUM,
  args: ["--no-sandbox", "--disable-dev-shm-usage", ...gl],
  protocolTimeout: 600000,
});
const tab = await browser.newPage(),
  told = { requests: [], said: [], axe: [], refused: {} };
await tab.setViewport({ width: 1400, height: 1000 });
browser.on("targetcreated", async (target) => {
  // workers and their requests, too
  const session = await target.createCDPSession().catch(() => null);
  await session?.send("Network.enable").catch(() => null);
  session?.on("Network.requestWillBeSent", ({ request }) => told.requests.push(request.url));
});
tab.on("request", (request) => told.requests.push(request.url()));
tab.on("console", (message) => message.type() !== "log" && told.said.push(`${message.type()}: ${message.text()}`));
tab.on("pageerror", (error) => told.said.push(`error: ${error.message}`));

const ready = () => tab.waitForFunction("document.body?.dataset.ready", { timeout: 300000 });
const state = () => tab.evaluate("document.body.dataset.state");
const ended = () =>
  tab.waitForFunction("['done', 'failed'].includes(document.body.dataset.state)", { timeout: 600000, polling: 200 });
/** Give a file, or all of a folder, and wait for what comes of it; returns how many seconds that took. */
async function give(file) {
  const start = Date.now();
  const files = fs.statSync(file).isDirectory() ? fs.readdirSync(file).map((name) => path.join(file, name)) : [file];
  await (await tab.$("#scan")).uploadFile(...files);
  await tab
    .waitForFunction("document.body.dataset.state === 'working'", { polling: 20, timeout: 5000 })
    .catch(() => null);
  await ended();
  return (Date.now() - start) / 1000;
}
async function kept(folder) {
  fs.mkdirSync(folder, { recursive: true });
  const files = await tab.evaluate(async () =>
    Promise.all(
      [...document.querySelectorAll("#downloads a")].map(async ({ textContent, href }) => {
        const reader = new FileReader();
        await new Promise((read) => {
          reader.onload = read;
          reader.readAsDataURL(globalThis.made[href]);
        });
        return [textContent, reader.result.split(",")[1]];
      }),
    ),
  );
  for (const [name, text] of files) fs.writeFileSync(path.join(folder, name), Buffer.from(text, "base64"));
}
async function asked(scheme) {
  await tab.emulateMediaFeatures([{ name: "prefers-color-scheme", value: scheme }]);
  for (const frame of tab.frames()) {
    await frame.evaluate(axe);
    const { violations } = await frame.evaluate("axe.run()");
    for (const { id, nodes } of violations)
      told.axe.push([frame === tab.mainFrame() ? "page" : "report", scheme, id, nodes[0].html]);
  }
}

await tab.evaluateOnNewDocument(() => {
  // the policy lets nobody fetch what is offered for download
  const make = URL.createObjectURL;
  URL.createObjectURL = (blob) => {
    const url = make.call(URL, blob);
    (globalThis.made ??= {})[url] = blob;
    return url;
  };
});
await tab.goto(origin);
await ready();
await new Promise((rest) => setTimeout(rest, 1500)); // it loads itself anew, once
await ready();
told.isolated = await tab.evaluate("crossOriginIsolated");
await tab.screenshot({ path: path.join(out, "empty.png") });
const cpu = async () => {
  const session = await browser.target().createCDPSession();
  return (await session.send("SystemInfo.getProcessInfo")).processInfo.reduce((sum, { cpuTime }) => sum + cpuTime, 0);
};
const before = await cpu();
told.seconds = await give(scan);
told.cpu = (await cpu()) - before;
told.state = [
  await state(),
  await tab.evaluate("document.getElementById('status').textContent + document.getElementById('problem').textContent"),
];
if (told.state[0] === "done") {
  const frame = await (await tab.$("#report")).contentFrame();
  await frame.waitForFunction("document.body.dataset.ready || document.getElementById('failed')?.hidden === false", {
    timeout: 300000,
  });
  told.viewer = await frame.evaluate("document.body.dataset.ready === 'true'");
  await new Promise((rest) => setTimeout(rest, 3000));
  await tab.screenshot({ path: path.join(out, "done.png"), fullPage: true });
  await kept(path.join(out, "first"));
  for (const scheme of ["light", "dark"]) await asked(scheme);
}
await tab.setOfflineMode(true);
server.close();
server.closeAllConnections();
await tab.reload();
await ready();
await tab.click("#example");
await ended();
told.offline = await state();
await kept(path.join(out, "offline"));
for (const file of wrong) {
  await give(file);
  told.refused[path.basename(file)] = await tab.evaluate("document.getElementById('problem').textContent");
}
await browser.close();
told.outside = told.requests.filter((url) => !url.startsWith(origin) && !/^(data|blob|about):/.test(url));
told.requests = [...new Set(told.requests)].length;
console.log(JSON.stringify(told));
