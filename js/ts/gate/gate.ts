// The gate: a policy and a ledger, and requests on their way through.
import { currentLife, enter } from "./instance.js";
import { ExchangeSide, TurnSide } from "./side.js";
import { PolicyError } from "./types.js";
import type { Context, Environment, Fetcher, GateEvent, GateOptions, LogLine, Next, Store } from "./types.js";
import type { Gate as Inner } from "../wasm/farebox_gate.js";

/** Milliseconds that a first request waits for what the gate must learn about facilitators. */
const WARM_UP = 2000;
/** Milliseconds without a sign of life after which a turn is given up: the request that it was part of may be gone. */
const TURN = 30_000;

/** What this runtime knows without being told. */
export interface Platform {
  waitUntil?: (promise: Promise<unknown>) => void;
  source?: (request: Request) => string | undefined;
}

let platform: Platform = {};

/** Entries of the package say what their runtime knows. */
export function runOn(known: Platform): void {
  platform = known;
}

/**
 * A ledger in the memory of this process: for one process that may forget, and for tests. Gates that are given the same one
 * share it.
 */
export function memoryStore(): Store {
  const memory = new Map<string, Uint8Array>();
  return {
    places: 0,
    memory: { get: (key) => memory.get(key), put: (key, value) => void memory.set(key, value) },
    send: () => Promise.reject(new Error("the ledger is in memory")),
  };
}

/**
 * Makes a gate of a policy: the same JSON as for the proxy, as an object or as text.
 *
 * @throws {PolicyError} if the policy has mistakes.
 */
export function createGate(policy: object | string, options: GateOptions): Gate {
  return new Gate(policy, options);
}

/** A gate. Make one for each policy and keep it: it remembers what facilitators support, and limits. */
export class Gate {
  readonly #policy: string;
  readonly #options: GateOptions;
  readonly #environment: Environment;
  #inner: Inner;
  #life: number;
  #warm = false;
  #turnBegan = 0;
  #turn: TurnSide | undefined;

  /** Use {@link createGate}. */
  constructor(policy: object | string, options: GateOptions) {
    this.#policy = typeof policy === "string" ? policy : JSON.stringify(policy);
    this.#options = options;
    this.#environment = environment(options);
    this.#inner = this.#load();
    this.#life = currentLife();
    for (const text of enter(() => this.#inner.warnings())) this.#environment.log({ level: "warn", text });
  }

  /**
   * Decides a request: refuses it, asks for payment, or lets it through to `next` and gives its response, paid for.
   *
   * @param context the worker's context; needed only where the runtime has no `waitUntil` of its own.
   * @param source the client's address, if whoever calls knows it; else the option `source` is asked.
   */
  async fetch(request: Request, next: Next, context?: Context, source?: string): Promise<Response> {
    const keep = this.#keeper(context);
    if (!this.#warm) await this.#warmUp(keep);
    else this.#tendIfDue(keep);
    const side = new ExchangeSide(this.#environment, request, next);
    let exchange: number;
    try {
      const address = source ?? (this.#options.source ?? platform.source)?.(request) ?? "";
      const inner = this.#current();
      keep(side.over);
      const headers = side.headers();
      exchange = enter(() => inner.serve(side, headers, String(address)));
    } catch (error) {
      this.#environment.log({ level: "error", text: `the gate failed: ${String(error)}` });
      side.done();
      return unavailable();
    }
    const life = currentLife();
    const leave = () => {
      if (life !== currentLife()) return;
      try {
        enter((wasm) => wasm.abandon(exchange));
      } catch {
        // Everything under way has heard of it.
      }
      side.abandoned();
    };
    const { signal } = request;
    if (signal?.aborted) leave();
    else signal?.addEventListener("abort", leave);
    // Made here: in workers, what another request makes is of no use to this one, and it may be another that traps.
    const response = (await side.response) ?? unavailable();
    signal?.removeEventListener("abort", leave);
    return response;
  }

  /**
   * Does the work between exchanges once: learns what facilitators support, and finds out settlements whose outcome is
   * not known. Requests do it on their way; call it from a cron trigger if there may be none for a while.
   */
  async tend(context?: Context): Promise<void> {
    await this.#takeTurn(this.#keeper(context));
  }

  #keeper(context: Context | undefined): (promise: Promise<unknown>) => void {
    if (context !== undefined) return (promise) => context.waitUntil(promise);
    return platform.waitUntil ?? (() => {});
  }

  #load(): Inner {
    const keys = (this.#options.keys ?? {}) as Record<string, unknown>;
    const key = (name: string) => {
      const value = keys[name];
      return typeof value === "string" ? value : undefined;
    };
    try {
      const { places, memory } = this.#options.store;
      return enter((wasm) => new wasm.Gate(this.#policy, key, places, memory));
    } catch (error) {
      if (!Array.isArray(error)) throw error;
      const mistakes = [];
      for (let at = 0; at + 2 < error.length; at += 3) {
        mistakes.push({ path: String(error[at]), found: String(error[at + 1]), hint: String(error[at + 2]) });
      }
      throw new PolicyError(mistakes);
    }
  }

  #current(): Inner {
    if (this.#life !== currentLife()) {
      this.#inner = this.#load();
      this.#life = currentLife();
    }
    return this.#inner;
  }

  /** Waits for the first turn, for a while: no promise of another request is waited for. */
  async #warmUp(keep: (promise: Promise<unknown>) => void): Promise<void> {
    const until = Date.now() + WARM_UP;
    void this.#takeTurn(keep);
    while (!this.#warm && Date.now() < until) await new Promise((resolve) => setTimeout(resolve, 5));
    this.#warm = true;
  }

  #tendIfDue(keep: (promise: Promise<unknown>) => void): void {
    if (Date.now() - this.#turnBegan >= (this.#options.tendEvery ?? 5) * 1000) void this.#takeTurn(keep);
  }

  #takeTurn(keep: (promise: Promise<unknown>) => void): Promise<void> {
    const now = Date.now();
    const lost = this.#turn !== undefined && now - this.#turn.active > TURN;
    if (this.#turn !== undefined && !lost) return Promise.resolve();
    const side = new TurnSide(this.#environment);
    this.#turn = side;
    this.#turnBegan = now;
    const over = side.over.then(() => {
      this.#warm = true;
      if (this.#turn === side) this.#turn = undefined;
    });
    keep(over);
    try {
      const inner = this.#current();
      enter(() => inner.tend(side, lost));
    } catch (error) {
      this.#environment.log({ level: "error", text: `work between requests failed: ${String(error)}` });
      side.died();
    }
    return over;
  }
}

function environment(options: GateOptions): Environment {
  const log = logger(options.log ?? true);
  const facilitators = (options.facilitators ?? {}) as Record<string, Fetcher | undefined>;
  return {
    store: options.store,
    service(cluster) {
      const binding = facilitators[cluster];
      if (binding !== undefined) return (request) => binding.fetch(request);
      return options.fetch ?? ((request) => fetch(request));
    },
    event(event) {
      if (options.onEvent !== undefined) {
        try {
          options.onEvent(event);
        } catch (error) {
          log({ level: "error", text: `onEvent threw: ${String(error)}` });
        }
      }
      if ((options.log ?? true) === true && event.name === "farebox_exchanges_total") {
        console.log(JSON.stringify({ farebox: "exchange", ...event.labels, ...event.exchange }));
      }
    },
    audit(line) {
      try {
        (options.onAudit ?? ((line) => console.log(line)))(line);
      } catch (error) {
        log({ level: "error", text: `onAudit threw, and this line is lost: ${line} (${String(error)})` });
      }
    },
    log,
  };
}

/** Never throws: it is called from the middle of everything. */
function logger(log: boolean | ((line: LogLine) => void)): (line: LogLine) => void {
  if (log === false) return () => {};
  const print = ({ level, text }: LogLine) => console[level](JSON.stringify({ farebox: "log", level, text }));
  if (log === true) return print;
  return (line) => {
    try {
      log(line);
    } catch (error) {
      print(line);
      print({ level: "error", text: `log threw: ${String(error)}` });
    }
  };
}

/** What an exchange ends with that was never decided. */
function unavailable(): Response {
  return new Response('{"type":"about:blank","title":"Service Unavailable","status":503}', {
    status: 503,
    headers: { "content-type": "application/problem+json", "cache-control": "no-store", "retry-after": "1" },
  });
}

export type { GateEvent };
