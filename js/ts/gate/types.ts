/** Whatever stands behind the gate: it gets the request as the gate lets it through. */
export type Next = (request: Request) => Promise<Response> | Response;

/** What a worker runtime gives with each request. */
export interface Context {
  /** Keeps the worker going until this promise settles, also when the client has gone. */
  waitUntil(promise: Promise<unknown>): void;
}

/** Something that answers requests, such as a service binding. */
export interface Fetcher {
  fetch(request: Request): Promise<Response>;
}

/** Where the gate keeps what must not be forgotten: which payments were used, and with which outcome. */
export interface Store {
  /** How many places the ledger is spread over; 0: it is in {@link memory}. */
  readonly places: number;
  /** What a ledger in the memory of this process is kept in; `memoryStore()` has it. */
  readonly memory?: { get(key: string): Uint8Array | undefined; put(key: string, value: Uint8Array): void };
  /**
   * Carries a message to a place, and brings back the answer of the `Place` there. Throws if none came.
   */
  send(place: number, message: Uint8Array): Promise<Uint8Array>;
}

/** What is known of an exchange when it was decided. */
export interface Facts {
  /** The route's name. */
  route?: string;
  /** What was decided: `free`, `paid`, `payment_required`, another code of a problem. */
  decision?: string;
  /** CAIP-10 account that paid. */
  payer?: string;
  /** Amount charged, in atomic units. */
  amount?: string;
  /** Transaction that settled the payment. */
  transaction?: string;
  /** Id of the capability token that was shown. */
  token?: string;
}

/** Something worth counting, under the name of the proxy's metric. */
export interface GateEvent {
  /** `farebox_exchanges_total`, `farebox_callouts_total`, … */
  name: string;
  /** The metric's labels. */
  labels: Record<string, string>;
  /** What a counter grows by, a histogram records, or a gauge is now. */
  value: number;
  /** The exchange that it happened in. */
  exchange?: Facts;
}

/** A line of the log. It never carries a credential. */
export interface LogLine {
  level: "debug" | "info" | "warn" | "error";
  text: string;
}

/** How a gate is set up. */
export interface GateOptions {
  /** The ledger: `memoryStore()`, or `durableObjectStore(env.LEDGER)` of `farebox/durable-object`. */
  store: Store;
  /** The variables that the policy names for secrets: a Worker's `env`, or `process.env`. */
  keys?: object;
  /**
   * Facilitators and nodes that are reached by a binding, each a {@link Fetcher} under the `cluster` that the policy names for
   * it: a Worker's `env` again, or an object that has them.
   */
  facilitators?: object;
  /** Reaches all others; the runtime's `fetch` if absent. */
  fetch?: (request: Request) => Promise<Response>;
  /** Hears of everything that the proxy would count. Must not throw. */
  onEvent?: (event: GateEvent) => void;
  /** Where lines go: `true` (the default): JSON on the console, one line for each exchange and each notice. */
  log?: boolean | ((line: LogLine) => void);
  /** Hears of every line of the audit log, which must be kept in order; the console if absent. Must not throw. */
  onAudit?: (line: string) => void;
  /**
   * The client's address, for limits; nothing is limited by source if there is none. By default what Cloudflare says
   * (`cf-connecting-ip`), and nothing elsewhere. In a workerd of your own, that field is whatever the client wrote: name one
   * that your own proxy sets.
   */
  source?: (request: Request) => string | undefined;
  /** Seconds between two turns of the work between exchanges; 5 if absent. */
  tendEvery?: number;
}

/** A policy that is refused: every mistake in it, with the field and the remedy. */
export class PolicyError extends Error {
  override readonly name = "PolicyError";
  /** All mistakes, in the order of their fields. */
  readonly mistakes: readonly { path: string; found: string; hint: string }[];

  constructor(mistakes: { path: string; found: string; hint: string }[]) {
    super(mistakes.map(({ path, found, hint }) => `${path || "policy"}: ${found}; ${hint}`).join("\n"));
    this.mistakes = mistakes;
  }
}

/** What a side needs to know of its gate. */
export interface Environment {
  readonly store: Store;
  service(cluster: string): (request: Request) => Promise<Response>;
  event(event: GateEvent): void;
  audit(line: string): void;
  log(line: LogLine): void;
}
