// What the engine's reason codes mean, for people. A code without a sentence here is shown as it is.

const SENTENCES: Record<string, string> = {
  approval_needed: "This is more than it may pay without asking you.",
  asset_not_listed: "It wants to be paid in something that is not dollars.",
  asset_disagrees: "It describes its dollars otherwise than they are.",
  counters_lost: "What was spent before is not known any more, so nothing is paid.",
  denied: "Your limits forbid this.",
  duplicate: "The same was paid a moment ago.",
  frozen: "Too much went wrong; everything has stopped.",
  no_budget: "There is no budget for this.",
  not_allowed: "Your limits allow this shop alone, and only to read.",
  offer_unsupported: "It wants to be paid in a way that this wallet does not know.",
  over_budget: "There is not enough left of the budget.",
  over_cap: "One payment may never be this much.",
  payee_changed: "It wants the money to go to somebody else than before.",
  price_above_last: "It costs much more than the last time.",
  price_above_quote: "It costs more than it said.",
  redirected: "It was sent on to another place, and does not pay there.",
  validity_too_long: "The payment would stay good for too long.",
  wallet_cannot_pay: "The wallet cannot pay this.",
};

/** Sentences for reason codes. That somebody would have to be asked is of no interest where a yes would not help. */
export function because(codes: readonly string[]): string {
  const telling = codes.length > 1 ? codes.filter((code) => code !== "approval_needed") : codes;
  return telling.map((code) => SENTENCES[code] ?? `The engine says: ${code}.`).join(" ");
}

const RULES: [start: string, says: string][] = [
  ["budgets ", "budget"],
  ["caps ", "most at once"],
  ["approvals ", "ask first"],
  ["allow ", "allowed"],
  ["deny ", "forbidden"],
];

/** A rule's name, for people: `"budgets all"` → `"budget all"`. */
export function ruleName(rule: string): string {
  const found = RULES.find(([start]) => rule.startsWith(start));
  return found ? `${found[1]}: ${rule.slice(found[0].length)}` : rule.replaceAll("_", " ");
}
