// The story of each errand, told by the events of the agent.
import type { AgentEvent, Decision, Payment, Receipt } from "farebox/agent";
import { dollars, priced } from "./money";

/** Where an errand stands. */
export type State = "asking" | "waiting" | "paying" | "paid" | "token" | "free" | "refused" | "declined" | "failed";

/** One errand that was run. */
export interface Entry {
  number: number;
  title: string;
  url: string;
  state: State;
  /** Price, for people. */
  price?: string;
  /** Every decision about it, in order: asking a person makes it two. */
  decisions: Decision[];
  payment?: Payment;
  /** Receipts, as the engine has checked them. */
  receipts: Receipt[];
  /** The seller's answer, or the beginning of it. */
  answer?: string;
  /** What went wrong. */
  error?: string;
  /** What else there is to say. */
  note?: string;
}

/** What an event changes of an errand. */
export function tell(entry: Entry, event: AgentEvent): void {
  switch (event.type) {
    case "decision": {
      const { decision } = event;
      entry.decisions.push(decision);
      const asks = decision.offer?.text ?? asked(decision);
      if (asks !== undefined) entry.price = priced(asks);
      entry.state = decision.outcome === "choose" ? "paying" : decision.outcome === "ask" ? "waiting" : "refused";
      break;
    }
    case "payment":
      entry.payment = event.payment;
      entry.state = event.payment.outcome === "charged" ? "paid" : "failed";
      if (event.payment.charged !== undefined) entry.price = dollars(BigInt(event.payment.charged));
      break;
    case "receipt":
      entry.receipts.push(event.receipt);
      break;
    case "token": {
      const calls = event.token.left.find(({ unit }) => unit === "call");
      entry.state = "token";
      delete entry.price;
      if (calls !== undefined) entry.note = `${calls.amount} calls are left of the pass.`;
      break;
    }
    case "tokenKept":
      entry.note = "This is a pass; the next calls go by it.";
      break;
    default:
  }
}

/** Whether every receipt that came is good, and one did. */
export function isProven({ payment, receipts }: Entry): boolean {
  return receipts.length > 0 && receipts.every(({ good }) => good) && payment?.faults.length === 0;
}

/** What the best offer asks for, as the rules have it: of those that can be paid, or else the first. */
function asked({ explanation: { offers } }: Decision): string | undefined {
  const best = offers.find(({ rank }) => rank.place === "1") ?? offers[0];
  return best?.verdicts.find(({ numbers }) => numbers.asks?.endsWith(" usd"))?.numbers.asks;
}
