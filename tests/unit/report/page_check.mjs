// node page_check.mjs NODE_MODULES PAGE...: what html-validate and axe-core find in pages, as JSON.
import fs from "node:fs";
import { createRequire } from "node:module";

const [modules, ...pages] = process.argv.slice(2);
const need = createRequire(`${fs.realpathSync(modules)}/`);
const { HtmlValidate } = need("html-validate");
const puppeteer = need("puppeteer-core");
const axe = fs.readFileSync(need.resolve("axe-core/axe.min.js"), "utf-8");
const validator = new HtmlValidate({ extends: ["html-validate:recommended"] });
const gl = ["--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"];
const browser = await puppeteer.launch({
  executablePath: process.env.CHROMIUM, args: ["--no-sandbox", "--disable-dev-shm-usage", ...gl], protocolTimeout: 600000,
});
const found = [];
for (const page of pages) {
  const { results } = await validator.validateString(fs.readFileSync(page, "utf-8"));
  for (const message of results.flatMap((result) => result.messages)) {
    found.push([page, "html", message.ruleId, `${message.line}: ${message.message}`]);
  }
  const tab = await browser.newPage();
  await tab.setBypassCSP(true);
  await tab.goto(`file://${fs.realpathSync(page)}`);
  await tab.waitForFunction("document.body.dataset.ready || !document.getElementById('viewer')", { timeout: 300000 });
  await tab.evaluate(axe);
  for (const scheme of ["light", "dark"]) {
    await tab.emulateMediaFeatures([{ name: "prefers-color-scheme", value: scheme }]);
    const { violations } = await tab.evaluate(() => axe.run());
    for (const { id, impact, nodes } of violations) found.push([page, `axe, ${scheme}, ${impact}`, id, nodes[0].html]);
  }
  await tab.close();
}
await browser.close();
console.log(JSON.stringify(found));
