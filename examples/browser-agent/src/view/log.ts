// One line for each errand: what was decided, and below it why.
import { ruleName } from "../reasons";
import type { Decision, Verdict } from "farebox/agent";
import { isProven, type Entry, type State } from "../story";
import { priced } from "../money";
import { el, fill, type Child } from "./element";

const WORDS: Record<State, string> = {
  asking: "asking the price",
  waiting: "waiting for you",
  paying: "paying",
  paid: "paid",
  token: "by pass",
  free: "free",
  refused: "not paid",
  declined: "you said no",
  failed: "failed",
};

const EFFECTS: Record<Verdict["effect"], string> = { pass: "fine", ask: "asks you", wait: "wait", deny: "no" };

/** What the log asks for. */
export interface LogActions {
  receipt(entry: Entry): void;
}

/** Draws an entry anew, in its place, or as the first of the list. */
export function drawEntry(log: Element, entry: Entry, actions: LogActions): void {
  const id = `entry-${entry.number}`;
  let item = document.getElementById(id);
  const open = item?.querySelector("details")?.open ?? false;
  const focused = item?.contains(document.activeElement) ? document.activeElement?.tagName : undefined;
  if (!item) {
    item = el("li", { id });
    log.prepend(item);
  }
  item.className = `entry ${entry.state}`;
  fill(item, ...lines(entry, open, actions));
  // A redrawn line must not take the keyboard away from whoever is in it.
  if (focused) item.querySelector<HTMLElement>(focused.toLowerCase())?.focus();
}

function lines(entry: Entry, open: boolean, actions: LogActions): Child[] {
  return [
    el(
      "p",
      { class: "what" },
      el("span", { class: "badge" }, WORDS[entry.state]),
      " ",
      el("span", { class: "title" }, entry.title),
      " ",
      entry.price !== undefined && el("span", { class: "price" }, entry.price),
    ),
    entry.error !== undefined && el("p", { class: "why" }, entry.error),
    entry.answer !== undefined && el("p", { class: "answer" }, entry.answer),
    entry.note !== undefined && el("p", { class: "note" }, entry.note),
    el(
      "div",
      { class: "more" },
      entry.decisions.length > 0 && reasons(entry, open),
      entry.payment?.outcome === "charged" && receiptButton(entry, actions),
    ),
  ];
}

function receiptButton(entry: Entry, actions: LogActions): HTMLElement {
  const good = isProven(entry);
  const button = el(
    "button",
    { type: "button", class: good ? "quiet good" : "quiet bad", "aria-haspopup": "dialog" },
    good ? "Receipt, verified" : "Receipt, not good",
    el("span", { class: "unseen" }, ` of ${entry.title}`),
  );
  button.addEventListener("click", () => actions.receipt(entry));
  return button;
}

function reasons(entry: Entry, open: boolean): HTMLElement {
  const details = el("details", {}, el("summary", {}, "Reasons", el("span", { class: "unseen" }, ` for ${entry.title}`)));
  details.open = open;
  entry.decisions.forEach((decision, index) => {
    if (entry.decisions.length > 1) details.append(el("h3", {}, index === 0 ? "At first" : "After your answer"));
    details.append(...judgement(decision));
  });
  return details;
}

const OUTCOMES: Record<Decision["outcome"], string> = { choose: "Pay", ask: "Ask first", deny: "Do not pay" };

function judgement({ outcome, offer, reasons, explanation }: Decision): HTMLElement[] {
  const chosen = offer?.text === undefined ? "" : ` ${priced(offer.text)}, offer ${offer.index + 1}`;
  return [
    el("p", {}, el("strong", {}, OUTCOMES[outcome]), chosen, reasons.length > 0 && `: ${reasons.join(", ")}`),
    ...(explanation.request.length > 0 ? [rules("The request", explanation.request)] : []),
    ...explanation.offers.map((judged) => rules(`Offer ${judged.offer + 1}`, judged.verdicts, Object.entries(judged.rank))),
  ];
}

function rules(caption: string, verdicts: Verdict[], rank: [string, string][] = []): HTMLElement {
  const line = (kind: string, rule: string, says: string, numbers: string) =>
    el("li", { class: kind }, el("span", {}, rule), " ", el("b", {}, says), " ", el("span", { class: "numbers" }, numbers));
  return el(
    "div",
    { class: "rules" },
    el("p", {}, caption),
    el(
      "ul",
      {},
      ...verdicts.map(({ rule, effect, reason, numbers }) =>
        line(effect, ruleName(rule), reason === undefined ? EFFECTS[effect] : `${EFFECTS[effect]}: ${reason}`, text(Object.entries(numbers))),
      ),
      rank.length > 0 && line("rank", "rank", "stands by", text(rank)),
    ),
  );
}

function text(numbers: [string, string][]): string {
  return numbers.map(([name, value]) => `${name.replaceAll("_", " ")} ${priced(value)}`).join(", ");
}
