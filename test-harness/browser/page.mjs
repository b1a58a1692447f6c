// The page of examples/browser-agent in a real browser: a person's story on it, on a phone and on a desktop, light and
// dark. Prints what was seen, as one line of JSON; judging it is the caller's business.
//
// Environment: CHROMIUM, PAGE (its origin), GATE (the gate's origin), SHOTS (folder for screenshots), FAULT (optional, to see
// that it is noticed: `unlabelled` takes a label out of the page; others are for an agent that was built with faults).
import { mkdir } from "node:fs/promises";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { chromium } from "playwright-core";

const { CHROMIUM, PAGE, GATE, SHOTS, FAULT } = process.env;
const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const flags = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"];
const VIEWS = [
  { name: "phone", viewport: { width: 390, height: 844 }, deviceScaleFactor: 2 },
  { name: "desktop", viewport: { width: 1280, height: 900 }, deviceScaleFactor: 1 },
];

/** One person's visit. */
async function visit(browser, view, scheme) {
  const seen = { view: view.name, scheme, axe: [], sideways: [], complaints: [], elsewhere: [] };
  const context = await browser.newContext({
    viewport: view.viewport,
    deviceScaleFactor: view.deviceScaleFactor,
    colorScheme: scheme,
    reducedMotion: "reduce",
    locale: "en-GB",
  });
  if (FAULT) await context.addInitScript((fault) => (globalThis.FAREBOX_MUTANT = fault), FAULT);
  const page = await context.newPage();
  page.setDefaultTimeout(30_000);
  page.on("pageerror", (error) => seen.complaints.push(String(error)));
  page.on("console", (message) => {
    // The browser itself notes every 402, and every 403 to a pass that is not good for a route.
    const expected = /status of 40[23]/.test(message.text()) && message.location().url.startsWith(GATE);
    if (["error", "warning"].includes(message.type()) && !expected) seen.complaints.push(message.text());
  });
  page.on("request", (request) => {
    const { origin, protocol } = new URL(request.url());
    if (protocol !== "data:" && origin !== PAGE && origin !== GATE) seen.elsewhere.push(request.url());
  });

  const look = async (state, { whole = false } = {}) => {
    await page.evaluate(axe);
    const { violations, passes } = await page.evaluate(() => globalThis.axe.run());
    seen.axe.push({
      state,
      passes: passes.length,
      violations: violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ target }) => target).join(", ")}`),
    });
    const beyond = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
    if (beyond > 0) seen.sideways.push(`${state}: ${beyond} px`);
    const path = join(SHOTS, `${view.name}-${scheme}-${state}.png`);
    await page.screenshot({ path, fullPage: whole });
  };
  const text = (selector) => page.locator(selector).innerText();
  const budget = () => page.locator("#budget svg").getAttribute("aria-label");
  // Waits until the errands are run; what is asked meanwhile, and should not be, gets a no.
  const done = async () => {
    for (;;) {
      await page.waitForFunction(
        () =>
          /^(Done|Stopped|This did)/.test(document.querySelector("#state").textContent) ||
          document.querySelector("#approval").open,
      );
      if (!(await page.locator("#approval").evaluate((dialog) => dialog.open))) return;
      seen.complaints.push(`the page asked: ${await text("#approval h2")}`);
      await page.keyboard.press("Escape");
    }
  };
  const entries = () =>
    page.locator("#log > li").evaluateAll((items) =>
      items.reverse().map((item) => ({
        title: item.querySelector(".title").textContent,
        state: item.className.split(" ").at(-1),
        price: item.querySelector(".price")?.textContent ?? null,
        why: item.querySelector(".why")?.textContent ?? null,
        answer: item.querySelector(".answer")?.textContent ?? null,
        reasons: [...item.querySelectorAll(".deny b, .ask b, .wait b")].map((said) => said.textContent),
      })),
    );
  const limit = async (name, amount) => page.fill(`#${name}`, amount);
  const buy = async (title) => {
    await page.locator("#errands li", { hasText: title }).getByRole("button").click();
  };

  await page.goto(PAGE);
  await page.waitForSelector("#errands li");
  seen.before = { run: await page.locator("#run").isDisabled(), budget: await budget() };
  if (FAULT === "unlabelled") await page.evaluate(() => document.querySelector("label[for=total]").remove());
  await look("1-before", { whole: true });

  // An amount that is none is refused, in words.
  await limit("total", "a lot");
  await page.click("#set");
  seen.mistake = await text("#total-error");
  await look("2-mistake");

  await limit("total", "0.40");
  await page.click("#set");
  await page.waitForFunction(() => document.querySelector("#budget .left").textContent.includes("of $0.40"));
  seen.set = await budget();

  // All errands; the large one is asked about.
  await page.click("#run");
  await page.waitForSelector("#approval[open]");
  seen.asked = await text("#approval");
  seen.focused = await page.evaluate(() => document.activeElement.value);
  await look("3-question");
  await page.click("#approval button[value=yes]");
  await done();
  seen.bought = { state: await text("#state"), budget: await budget(), entries: await entries() };
  await page.locator("#log > li", { hasText: "The whole archive" }).locator("summary").click();
  await page.evaluate(() => scrollTo(0, 0));
  await look("4-bought", { whole: view.name === "desktop" });
  if (view.name === "phone") {
    await page.locator("#log > li").nth(1).scrollIntoViewIfNeeded();
    await look("5-decisions");
  }

  // Every receipt.
  seen.receipts = [];
  const buttons = page.locator("#log button");
  for (let nth = 0; nth < (await buttons.count()); nth += 1) {
    await buttons.nth(nth).click();
    await page.locator("#receipt summary").first().click();
    if (nth === 0) await look("6-receipt");
    seen.receipts.push({
      title: await text("#receipt h2"),
      verdict: await text("#receipt .verdict"),
      amount: await text("#receipt .amount"),
      facts: await page.locator("#receipt .facts > div").evaluateAll((rows) =>
        Object.fromEntries(rows.map((row) => [row.children[0].textContent, row.children[1].textContent])),
      ),
    });
    await page.keyboard.press("Escape");
  }

  // A reload fills nothing.
  await page.reload();
  await page.waitForFunction(() => document.querySelector("#budget .left").textContent.includes("of $0.40"));
  seen.reloaded = await budget();

  // More than before is for a person to say; and what they are asked about, they can refuse.
  await limit("total", "0.80");
  await page.click("#set");
  await page.waitForSelector("#approval[open]");
  seen.loosening = await text("#approval h2");
  await page.click("#approval button[value=yes]");
  await page.waitForFunction(() => document.querySelector("#budget .left").textContent.includes("0.80"));
  await buy("Planned route");
  await page.waitForSelector("#approval[open]");
  await page.keyboard.press("Escape");
  await done();
  seen.declined = { budget: await budget(), entries: await entries() };

  // Less than before needs nobody.
  await limit("total", "0.33");
  await page.click("#set");
  await page.waitForFunction(() => document.querySelector("#budget .left").textContent.includes("0.33"));
  await buy("Morning news");
  await page.waitForFunction(() => document.querySelectorAll("#log > li").length === 2);
  await done();
  seen.tightened = { budget: await budget(), entries: await entries() };
  await context.close();
  return seen;
}

await mkdir(SHOTS, { recursive: true });
const browser = await chromium.launch({ executablePath: CHROMIUM, args: [...flags, "--disable-component-update", "--disable-sync"] });
try {
  const visits = [];
  for (const view of VIEWS) for (const scheme of ["light", "dark"]) visits.push(await visit(browser, view, scheme));
  console.log(JSON.stringify({ version: browser.version(), visits }));
} finally {
  await browser.close();
}
