// What the engine tells, as the types of this package have it, and the errors that it stands for.
import {
  AgentError,
  ApprovalNeeded,
  ChallengeRefused,
  NotSigned,
  PaymentDenied,
  PaymentDoubtful,
  PolicyError,
  type AgentEvent,
  type Explanation,
  type Payment,
  type Question,
  type ReasonCode,
} from "./types.js";

/** Members whose own names are data. */
const VERBATIM = new Set(["claims", "document", "numbers", "policy", "rank"]);

/** The engine's JSON with its names as JavaScript writes them, and without what is null. */
export function told<T>(json: unknown): T {
  return renamed(json) as T;
}

function renamed(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(renamed);
  if (typeof value !== "object" || value === null) return value;
  const members = Object.entries(value)
    .filter(([, member]) => member !== null)
    .map(([name, member]) => {
      const camel = name.replaceAll(/_([a-z])/g, (_, letter: string) => letter.toUpperCase());
      return [camel, VERBATIM.has(name) ? member : renamed(member)] as const;
    });
  return Object.fromEntries(members);
}

/** An error as the engine tells it. */
interface ToldError {
  kind: "denied" | "ask" | "unsigned" | "doubtful" | "network" | "challenge" | "store" | "agent";
  code: string;
  detail: string;
  reasons?: ReasonCode[];
  retry_at?: number | null;
  explanation?: Explanation | null;
  question?: unknown;
  paid?: unknown;
}

/** A payment. One that was made for an earlier call was decided on then. */
export function payment(json: unknown): Payment {
  const payment = told<Payment>(json);
  const { explanation, id } = payment;
  payment.reservation.id ??= id;
  payment.resumed = explanation === undefined || explanation.request.length + explanation.offers.length === 0;
  if (payment.resumed) delete payment.explanation;
  return payment;
}

/** What else is known of a call that failed. */
export interface Circumstances {
  /** What was thrown while the request was sent, signed or counted. */
  cause?: unknown;
  /** The response that was there. */
  response?: Response | undefined;
}

/** The error of a reply, if it is one. */
export function failure(reply: unknown, known: Circumstances = {}): Error | undefined {
  const error = (reply as { error?: ToldError }).error;
  if (error === undefined) return undefined;
  const options = known.cause === undefined ? undefined : { cause: known.cause };
  switch (error.kind) {
    case "denied":
      return new PaymentDenied(error.reasons ?? [], told(error.explanation), error.retry_at ?? undefined);
    case "ask":
      return new ApprovalNeeded(
        told<Question>(error.question),
        error.explanation == null ? undefined : told<Explanation>(error.explanation),
      );
    case "unsigned":
      return new NotSigned(error.code, error.detail, options);
    case "doubtful":
      return new PaymentDoubtful(payment(error.paid), options);
    case "challenge":
      return new ChallengeRefused(error.code as ReasonCode, error.detail, known.response);
    case "network":
      // What `fetch` throws is what a caller of `fetch` expects.
      return known.cause instanceof Error ? known.cause : new AgentError(error.code, error.detail, options);
    default:
      return new AgentError(error.code, error.detail, options);
  }
}

/** What is told of the engine's events, by their names. */
const EVENTS: Record<string, AgentEvent["type"]> = {
  decided: "decision",
  reserved: "reserved",
  given_up: "givenUp",
  signed: "signed",
  resumed: "resumed",
  sent: "sending",
  paid: "payment",
  receipt_checked: "receipt",
  token_kept: "tokenKept",
  token_used: "token",
  token_dropped: "tokenDropped",
};

/** An event of the engine. */
export function event(text: string): Record<string, unknown> & { type: AgentEvent["type"] } {
  const { event: name, paid, ...rest } = JSON.parse(text) as { event: string; paid?: unknown };
  const type = EVENTS[name];
  if (type === undefined) throw new Error(`no event ${name}`);
  const members = told<Record<string, unknown>>(rest);
  const held = members["reservation"] as { id?: unknown } | undefined;
  if (held !== undefined) held.id ??= members["id"];
  return { type, ...members, ...(paid === undefined ? {} : { payment: payment(paid) }) };
}

/** What is thrown when a policy is refused: an array of path, what was found, what is allowed, by turns. */
export function policyFailure(error: unknown): unknown {
  if (typeof error === "string") return new AgentError("wallet", error);
  if (!Array.isArray(error)) return error;
  const mistakes = [];
  for (let at = 0; at + 2 < error.length; at += 3) {
    mistakes.push({ path: String(error[at]), found: String(error[at + 1]), hint: String(error[at + 2]) });
  }
  return new PolicyError(mistakes);
}

/** An explanation for people: every rule that was looked at, one on each line. */
export function explanationText(explanation: Explanation): string {
  const lines: string[] = [];
  const add = (where: string, verdicts: Explanation["request"]) => {
    for (const { rule, effect, reason, numbers } of verdicts) {
      const why = reason === undefined ? "" : ` (${reason})`;
      const by = Object.entries(numbers).map(([name, value]) => `${name} ${value}`);
      lines.push(`${where}: ${effect.padEnd(4)} ${rule}${why}${by.length > 0 ? `: ${by.join(", ")}` : ""}`);
    }
  };
  add("request", explanation.request);
  for (const { offer, verdicts, rank } of explanation.offers) {
    add(`offer ${offer}`, verdicts);
    for (const [name, value] of Object.entries(rank)) lines.push(`offer ${offer}: rank ${name} ${value}`);
  }
  return lines.join("\n");
}
