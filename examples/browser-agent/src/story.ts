// The story of each errand, told by the events of the agent.
import type { AgentEvent, Decision, Payment } from "farebox/agent";
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
  /** The seller's answer, or the beginning of it. */
  answer?: string;
  /** What went wrong. */
  error?: string;
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
      if (event.payment.reservation.text !== undefined) entry.price = priced(event.payment.reservation.text);
      entry.state = event.payment.outcome === "charged" ? "paid" : "failed";
      if (event.payment.charged !== undefined) entry.price = dollars(BigInt(event.payment.charged));
      break;
    case "token":
      entry.state = "token";
      entry.price = event.token.calls === undefined ? "by pass" : `${event.token.calls} calls left`;
      break;
    default:
  }
}

/** What the best offer asks for, as the rules have it: of those that can be paid, or else the first. */
function asked({ explanation: { offers } }: Decision): string | undefined {
  const best = offers.find(({ rank }) => rank.place === "1") ?? offers[0];
  return best?.verdicts.find(({ numbers }) => numbers.asks?.endsWith(" usd"))?.numbers.asks;
}

/** What a receipt says: the payload of its JWS, which the engine has verified. */
export function claims(jws: string | undefined): Record<string, unknown> {
  try {
    const [, payload = ""] = jws?.split(".") ?? [];
    const bytes = Uint8Array.from(atob(payload.replaceAll("-", "+").replaceAll("_", "/")), (c) => c.charCodeAt(0));
    return JSON.parse(new TextDecoder().decode(bytes)) as Record<string, unknown>;
  } catch {
    return {};
  }
}
