// What a person sets, and the policy that it becomes.
import type { Demo, SellerKeys } from "./demo";
import { decimal, dollars, parse } from "./money";

/** What a person sets, in millionths of a dollar. */
export interface Limits {
  /** All payments together. */
  total: bigint;
  /** One payment above this waits for a yes. */
  ask: bigint;
  /** One payment is never above this. */
  cap: bigint;
}

/** The only budget of the policy: the rule is called `budgets all`. */
export const BUDGET = "all";

/** The policy for an agent that shops at the demo's gate, and nowhere else. */
export function policyFor(limits: Limits, serial: number, demo: Demo, keys: SellerKeys): object {
  const usd = (amount: bigint) => `${decimal(amount)} usd`;
  return {
    version: 1,
    serial,
    name: "set on the page",
    assets: [{ asset: demo.asset, unit: "usd" }],
    allow: [{ name: "shop", match: { hosts: [demo.gate], methods: ["GET"] } }],
    caps: [{ name: "each", max: usd(limits.cap) }],
    budgets: [{ name: BUDGET, max: usd(limits.total) }],
    approvals: [{ name: "large", above: usd(limits.ask) }],
    payees: { on_change: "ask" },
    require: { receipt: true, signers: keys.map((jwk) => ({ hosts: [demo.gate], jwk })) },
    breaker: { faults: 3, seconds: 600 },
  };
}

/** Reads the form. A field that is not right gets a sentence, and then there are no limits. */
export function readLimits(form: HTMLFormElement): Limits | undefined {
  const total = field(form, "total", () => undefined);
  const ask = field(form, "ask", () => undefined);
  const cap = field(form, "cap", (amount) =>
    amount === 0n ? "With this, nothing could be bought. Set more than $0." : undefined,
  );
  form.querySelector<HTMLElement>("[aria-invalid=true]")?.focus();
  return total === undefined || ask === undefined || cap === undefined ? undefined : { total, ask, cap };
}

/** Writes limits into the form. */
export function showLimits(form: HTMLFormElement, limits: Limits): void {
  for (const [name, amount] of Object.entries(limits)) input(form, name).value = dollars(amount as bigint).slice(1);
}

function field(form: HTMLFormElement, name: string, wrong: (amount: bigint) => string | undefined): bigint | undefined {
  const element = input(form, name);
  const amount = parse(element.value);
  const complaint = amount === undefined ? "Write an amount of dollars, like 0.40." : wrong(amount);
  element.setAttribute("aria-invalid", String(complaint !== undefined));
  const place = document.getElementById(`${name}-error`);
  if (place) place.textContent = complaint ?? "";
  return complaint === undefined ? amount : undefined;
}

function input(form: HTMLFormElement, name: string): HTMLInputElement {
  const element = form.elements.namedItem(name);
  if (!(element instanceof HTMLInputElement)) throw new Error(`the form has no ${name}`);
  return element;
}
