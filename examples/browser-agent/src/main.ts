// The page: what a person does on it, and what they see.
import { init, PaymentDenied, type AgentEvent, type Question } from "farebox/agent";
import wasm from "farebox/agent.wasm?url";
import { Buyer } from "./buyer";
import { readDemo, type Demo, type Errand } from "./demo";
import { readLimits, showLimits } from "./limits";
import { dollars } from "./money";
import { because } from "./reasons";
import { tell, type Entry } from "./story";
import { BudgetPicture, type Piece } from "./view/budget";
import { ask, showReceipt } from "./view/dialogs";
import { byId, el, facts, fill } from "./view/element";
import { drawEntry } from "./view/log";

const form = byId("limits", HTMLFormElement);
const approval = byId("approval", HTMLDialogElement);
const receipt = byId("receipt", HTMLDialogElement);
const run = byId("run", HTMLButtonElement);
const stop = byId("stop", HTMLButtonElement);
const over = byId("over", HTMLButtonElement);
const log = byId("log", HTMLOListElement);
const state = byId("state", HTMLParagraphElement);
const picture = new BudgetPicture(byId("budget", HTMLElement));

const entries: Entry[] = [];
let buyer: Buyer;
let running: AbortController | undefined;

/** The errand that the agent is on: it does one after another, so every event is about this one. */
let current: Entry | undefined;

function happened(event: AgentEvent): void {
  if (!current) return;
  tell(current, event);
  draw(current);
}

async function approve(question: Question): Promise<boolean> {
  const { method, url, amount, payTo, network } = question.document as Record<string, string>;
  const yes = await ask(
    approval,
    {
      title: `Pay ${dollars(BigInt(amount ?? 0))}?`,
      lead: `${current?.title ?? "The agent"} costs more than it may pay without asking you. Your yes is good for this one payment.`,
      rows: [
        ["For", `${method} ${url}`, "code"],
        ["To", payTo, "code"],
        ["On", network, "code"],
        ["Answer by", new Date(question.expires * 1000).toLocaleTimeString()],
        ["Question", question.digest, "code"],
      ],
      yes: "Yes, pay this once",
      no: "No",
    },
    running?.signal,
  );
  if (!yes && current) current.state = "declined";
  return yes;
}

async function loosen(): Promise<boolean> {
  return ask(approval, {
    title: "Allow more than before?",
    lead: "These limits let the agent spend more than the ones in force. Only you can say so; the agent cannot.",
    rows: [],
    yes: "Yes, allow it",
    no: "No, keep the old ones",
  });
}

// ── Errands ──────────────────────────────────────────────────────────────────────────────────────────────────────────

async function runAll(errands: Errand[]): Promise<void> {
  running = new AbortController();
  const starter = document.activeElement;
  showRunning(true);
  stop.focus({ preventScroll: true });
  const before = entries.length;
  for (const errand of errands) {
    if (running.signal.aborted) break;
    say(`On an errand: ${errand.title}.`);
    await runOne(errand, running.signal);
  }
  const done = entries.slice(before);
  const got = done.filter((entry) => ["paid", "token", "free"].includes(entry.state)).length;
  say(`${running.signal.aborted ? "Stopped" : "Done"}: ${got} of ${done.length} bought.`);
  running = undefined;
  // Whoever has gone elsewhere meanwhile stays there.
  const stayed = document.activeElement === stop || document.activeElement === document.body;
  showRunning(false);
  if (stayed && starter instanceof HTMLElement) starter.focus({ preventScroll: true });
}

async function runOne(errand: Errand, signal: AbortSignal): Promise<void> {
  const entry: Entry = {
    number: entries.length + 1,
    title: errand.title,
    url: buyer.demo.gate + errand.path,
    state: "asking",
    decisions: [],
    receipts: [],
  };
  entries.push(entry);
  current = entry;
  draw(entry);
  try {
    const response = await buyer.fetch(errand.path, signal);
    const text = await response.text();
    if (response.ok) entry.answer = summary(text);
    else [entry.state, entry.error] = ["failed", `The shop answers ${response.status}.`];
    if (entry.state === "asking") entry.state = "free";
  } catch (error) {
    if (entry.state === "declined") entry.error = "You have refused it.";
    else if (error instanceof PaymentDenied) [entry.state, entry.error] = ["refused", because(error.reasons)];
    else if (signal.aborted) [entry.state, entry.error] = ["failed", "Stopped."];
    else [entry.state, entry.error] = ["failed", error instanceof Error ? error.message : String(error)];
  }
  current = undefined;
  draw(entry);
  await drawStanding();
}

/** What a seller answered, in short. It is shown, and never obeyed. */
function summary(text: string): string {
  try {
    const { says } = JSON.parse(text) as { says?: unknown };
    if (typeof says === "string") text = says;
  } catch {
    // Not JSON: as it is.
  }
  return text.length > 160 ? `${text.slice(0, 160)}…` : text;
}

// ── What is seen ─────────────────────────────────────────────────────────────────────────────────────────────────────

function draw(entry: Entry): void {
  byId("nothing", HTMLElement).hidden = entries.length > 0;
  drawEntry(log, entry, { receipt: (entry) => showReceipt(receipt, entry) });
  void drawStanding();
}

async function drawStanding(): Promise<void> {
  const standing = await buyer.standing();
  if (!standing) return picture.draw(undefined);
  const paid = entries.flatMap<Piece>(({ title, payment }) =>
    payment?.outcome === "charged"
      ? [{ title, amount: BigInt(payment.charged ?? payment.reservation.amount), reserved: false }]
      : [],
  );
  const titled = (url: string) => entries.findLast((entry) => entry.url === url)?.title ?? url;
  const reserved = standing.open.map<Piece>(({ url, amount }) => ({ title: titled(url), amount, reserved: true }));
  picture.draw({ ...standing, pieces: [...paid, ...reserved] });
}

function showRunning(is: boolean): void {
  const ready = buyer.agent !== undefined && !is;
  run.disabled = !ready;
  stop.hidden = !is;
  over.hidden = buyer.agent === undefined;
  over.disabled = is;
  byId("set", HTMLButtonElement).textContent = buyer.agent ? "Change the limits" : "Set these limits";
  for (const button of document.querySelectorAll<HTMLButtonElement>("#errands button")) button.disabled = !ready;
}

function say(text: string): void {
  state.textContent = text;
}

function showShop({ wallet, chain, asset, gate, errands }: Demo): void {
  byId("wallet-note", HTMLElement).textContent =
    "The key of this account is public. It belongs to a chain that runs on this machine alone.";
  fill(
    byId("wallet", HTMLElement),
    ...facts([
      ["Session key of", wallet.address, "code"],
      ["Pays with", asset, "code"],
      ["Shop", gate, "code"],
      ["Chain", chain, "code"],
    ]),
  );
  fill(
    byId("errands", HTMLElement),
    ...errands.map((errand) => {
      const button = el("button", { type: "button", class: "quiet" }, "Buy", el("span", { class: "unseen" }, `: ${errand.title}`));
      button.disabled = true;
      button.addEventListener("click", () => void attempt(() => runAll([errand])));
      return el("li", {}, el("span", {}, errand.title, el("small", {}, errand.about)), button);
    }),
  );
}

// ── What a person does ───────────────────────────────────────────────────────────────────────────────────────────────

form.addEventListener("submit", (event) => {
  event.preventDefault();
  const limits = readLimits(form);
  if (limits) {
    void attempt(async () => {
      const set = await buyer.set(limits);
      if (!set && buyer.limits) showLimits(form, buyer.limits);
      say(set ? `The agent may spend ${dollars(limits.total)}.` : "The limits stay as they were.");
      await drawStanding();
      showRunning(running !== undefined);
    });
  }
});

over.addEventListener("click", () => {
  buyer.startOver();
  entries.length = 0;
  fill(log);
  byId("nothing", HTMLElement).hidden = false;
  say("Everything is forgotten; set limits to begin anew.");
  showRunning(false);
  void drawStanding();
  byId("total", HTMLInputElement).focus();
});

stop.addEventListener("click", () => running?.abort());

// Another tab has set other limits, which are in force here too.
addEventListener("storage", () => location.reload());

async function attempt(what: () => Promise<void>): Promise<void> {
  try {
    await what();
  } catch (error) {
    say(`This did not work: ${error instanceof Error ? error.message : String(error)}`);
  }
}

await attempt(async () => {
  const [{ demo, keys }] = await Promise.all([readDemo(), init(wasm)]);
  buyer = new Buyer(demo, keys, { approve, loosen, happened });
  showShop(demo);
  run.addEventListener("click", () => void attempt(() => runAll(demo.errands)));
  if (buyer.limits) showLimits(form, buyer.limits);
  await drawStanding();
  showRunning(false);
});
