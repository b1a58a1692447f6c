// The agent: a policy, a wallet and a store, and requests on their way.
import { CallSide, discard, unlessAborted, type Environment, type Outcome, type Prepared } from "./call.js";
import { currentLife, enter, instance } from "./instance.js";
import { event, explanationText, failure, payment, policyFailure, told } from "./told.js";
import {
  AgentError,
  ApprovalNeeded,
  PaymentRefused,
  type Agent,
  type AgentEvent,
  type AgentOptions,
  type AgentRequestInit,
  type Decision,
  type DelegateOptions,
  type Delegated,
  type Details,
  type ImportFrame,
  type Imported,
  type Left,
  type Payment,
  type PolicyInfo,
  type Question,
  type Quote,
  type Reservation,
  type TokenInfo,
} from "./types.js";
import type { Agent as Inner } from "../wasm/farebox_agent.js";

/** What this runtime knows without being told. */
export interface Platform {
  waitUntil?: (promise: Promise<unknown>) => void;
}

let platform: Platform = {};

/** Entries of the package say what their runtime knows. */
export function runOn(known: Platform): void {
  platform = known;
}

/** Times that one call asks for approval. */
const ASKS = 4;

const details = new WeakMap<Response, Details>();

/** What was paid for a response that `agent.fetch` gave; `undefined` if nothing was. */
export function paymentOf(response: Response): Payment | undefined {
  return details.get(response)?.payment;
}

/** What came with a response that `agent.fetch` gave: payment, token, receipts. */
export function detailsOf(response: Response): Details {
  return details.get(response) ?? { receipts: [] };
}

/**
 * Makes an agent. In browsers and with bundlers, await `init()` first.
 *
 * @throws {PolicyError} if the policy has mistakes.
 */
export function createAgent(options: AgentOptions): Agent {
  return new Buyer(options);
}

/**
 * Makes a policy of what a person has granted elsewhere: an ERC-7715 permission, a Coinbase Spend Permission, or an AP2
 * mandate. What cannot be said in rules is refused.
 *
 * @throws {AgentError} `not_imported`
 */
export function importPolicy(
  kind: "erc7715" | "spend_permission" | "ap2",
  grant: object | string,
  frame: ImportFrame = {},
): Imported {
  try {
    return told<Imported>(JSON.parse(enter((wasm) => wasm.import_policy(kind, text(grant), JSON.stringify(frame)))));
  } catch (error) {
    if (typeof error !== "string") throw error;
    throw failure(JSON.parse(error)) ?? error;
  }
}

/** What the engine says of everything at once. */
interface Status {
  left: Left[];
  open: Reservation[];
  questions: Question[];
  tokens: TokenInfo[];
}

class Buyer implements Agent {
  readonly fetch = (input: string | URL | Request, init?: AgentRequestInit): Promise<Response> =>
    this.#fetch(input, init);
  readonly #options: AgentOptions;
  readonly #environment: Environment;
  readonly #closing = new AbortController();
  #policy: string;
  #described: PolicyInfo;
  #inner: Inner | undefined;
  #life = -1;
  #opening: Promise<Inner> | undefined;
  #holdsKey = false;
  #holder: string | undefined;

  constructor(options: AgentOptions) {
    this.#options = options;
    this.#policy = text(options.policy);
    this.#described = described(this.#policy);
    const { store, wallet, holder } = options;
    this.#environment = {
      store,
      wallet,
      holder,
      event: (prepared, text) => {
        if (options.onEvent === undefined) return;
        const { method = "", url = "" } = prepared?.request ?? {};
        const told = event(text);
        this.#tell(method, url, told);
        const question = (told["decision"] as Decision | undefined)?.question;
        if (question !== undefined) this.#tell(method, url, { type: "question", question });
      },
      send: (request) => (options.fetch ?? fetch)(request),
      signing: ({ request: { method, url } }, payer, typedData, digest) =>
        this.#tell(method, url, { type: "signing", payer, typedData, digest }),
    };
  }

  get policy(): PolicyInfo {
    return this.#described;
  }

  async accounts(): Promise<string[]> {
    return (await this.#open()).accounts();
  }

  async #fetch(input: string | URL | Request, init?: AgentRequestInit): Promise<Response> {
    const request = new Request(input, streaming(init));
    // Whatever is not fetched by HTTP costs nothing.
    if (!/^https?:$/.test(new URL(request.url).protocol)) return this.#environment.send(request);
    request.signal?.throwIfAborted();
    const prepared = await prepare(request, this.#closing.signal);
    const wanted = this.#wanted(prepared, init);
    const { method, url } = request;
    for (let asks = 0; ; asks += 1) {
      const call = await this.#call((inner, call) => inner.fetch(call, wanted, prepared.body ?? new Uint8Array()), prepared);
      const { reply, response } = call.outcome;
      const error = failure(reply, { cause: call.side.cause, response: call.side.last });
      if (error === undefined) return this.#given(method, url, reply, response!);
      if (error instanceof ApprovalNeeded) {
        discard(call.side.last);
        if (asks < ASKS && (await this.#asked(error.question, request.signal))) continue;
      }
      // Whoever has gone does not want to hear of anything else; what was sent stays reserved.
      if (request.signal?.aborted) discard(call.side.last);
      request.signal?.throwIfAborted();
      if (!(error instanceof AgentError && "response" in error)) discard(call.side.last);
      this.#tell(method, url, { type: "failed", error });
      throw error;
    }
  }

  #given(method: string, url: string, reply: unknown, response: Response): Response {
    const { paid, ...rest } = reply as { paid: unknown };
    const known = told<Details>(rest);
    if (paid !== null) known.payment = payment(paid);
    details.set(response, known);
    if (known.payment?.outcome === "refused" && this.#options.onRefusal === "throw") {
      const error = new PaymentRefused(known.payment, response);
      this.#tell(method, url, { type: "failed", error });
      throw error;
    }
    return response;
  }

  /** Asks whoever the program asks; whether it is worth trying again. */
  async #asked(question: Question, signal?: AbortSignal): Promise<boolean> {
    const answer = await unlessAborted(signal, this.#options.ask?.(question));
    if (answer === undefined) return false;
    if (answer === false) {
      await this.reject(question.digest);
      return false;
    }
    const answers = answer === true ? [question.digest] : typeof answer === "string" ? [answer] : answer;
    let enough = false;
    for (const one of answers) enough = (await this.approve(one)) === "enough" || enough;
    return enough;
  }

  async begin(): Promise<boolean> {
    const reply = await this.#reply((inner, call) => inner.begin(call));
    return (reply as { begun: boolean }).begun;
  }

  async explain(input: string | URL | Request, init?: AgentRequestInit): Promise<string> {
    const { outcome, status, token, decision } = await this.quote(input, init);
    if (decision !== undefined) return explanationText(decision.explanation);
    return token === undefined ? `${outcome}: status ${status}` : `token ${token.id}`;
  }

  async quote(input: string | URL | Request, init?: AgentRequestInit): Promise<Quote> {
    const prepared = await prepare(new Request(input, streaming(init)), this.#closing.signal);
    const wanted = this.#wanted(prepared, init);
    const { outcome, side } = await this.#call(
      (inner, call) => inner.quote(call, wanted, prepared.body ?? new Uint8Array()),
      prepared,
    );
    const error = failure(outcome.reply, { cause: side.cause, response: side.last });
    if (error !== undefined) throw error;
    discard(side.last);
    const plan = told<{ plan: string; status?: number; token?: TokenInfo; decision?: Decision }>(outcome.reply);
    const status = side.last === undefined ? {} : { status: side.last.status };
    const { token, decision } = plan;
    if (token !== undefined) return { outcome: "token", token, ...status, reasons: [] };
    if (decision === undefined) return { outcome: "free", ...status, reasons: [] };
    const quote: Quote = { outcome: decision.outcome, ...status, reasons: decision.reasons, decision };
    if (decision.offer !== undefined) {
      const { asset, amount, payee } = decision.offer;
      quote.price = { asset, amount, payee };
    }
    return quote;
  }

  async left(): Promise<Left[]> {
    return (await this.#status()).left;
  }

  async open(): Promise<Reservation[]> {
    return (await this.#status()).open;
  }

  async questions(): Promise<Question[]> {
    return (await this.#status()).questions;
  }

  async approve(answer: string): Promise<"counted" | "enough" | "again"> {
    const reply = await this.#reply((inner, call) => inner.approve(call, answer));
    return (reply as { approved: "counted" | "enough" | "again" }).approved;
  }

  async reject(digest: string): Promise<void> {
    await this.#reply((inner, call) => inner.reject(call, digest));
  }

  async adopt(policy: object | string, options: { loosen?: boolean } = {}): Promise<void> {
    const document = text(policy);
    const next = described(document);
    await this.#reply((inner, call) => inner.adopt(call, document, options.loosen ?? false));
    const inner = await this.#open();
    enter(() => inner.take_over(document));
    this.#policy = document;
    this.#described = next;
  }

  async unfreeze(host?: string): Promise<void> {
    await this.#reply((inner, call) => inner.unfreeze(call, host));
  }

  async evidence(id: string, amount: string | null): Promise<void> {
    await this.#reply((inner, call) => inner.evidence(call, id, amount ?? undefined));
  }

  async tokens(): Promise<TokenInfo[]> {
    return (await this.#status()).tokens;
  }

  async delegate(options: DelegateOptions): Promise<Delegated> {
    const delegation = JSON.stringify(options);
    return told<Delegated>(await this.#reply((inner, call) => inner.delegate(call, delegation)));
  }

  async keep(token: string): Promise<TokenInfo> {
    return told<{ token: TokenInfo }>(await this.#reply((inner, call) => inner.keep_token(call, token))).token;
  }

  async drop(id: string): Promise<boolean> {
    return ((await this.#reply((inner, call) => inner.drop_token(call, id))) as { dropped: boolean }).dropped;
  }

  async holder(): Promise<JsonWebKey | undefined> {
    await this.#open();
    return this.#holder === undefined ? undefined : (JSON.parse(this.#holder) as JsonWebKey);
  }

  close(): void {
    this.#closing.abort(new AgentError("closed", "the agent was closed"));
    if (this.#inner !== undefined && this.#life === currentLife()) this.#inner.free();
    this.#inner = undefined;
    this.#opening = Promise.reject(new AgentError("closed", "the agent was closed"));
    this.#opening.catch(() => {});
  }

  async #status(): Promise<Status> {
    return told<Status>(await this.#reply((inner, call) => inner.status(call)));
  }

  /** What the engine replies to an operation that sends nothing. */
  async #reply(begin: (inner: Inner, call: CallSide) => void): Promise<unknown> {
    return replyOf(await this.#call(begin));
  }

  async #call(
    begin: (inner: Inner, call: CallSide) => void,
    prepared?: Prepared,
  ): Promise<{ outcome: Outcome; side: CallSide }> {
    return this.#run(await unlessAborted(prepared?.request.signal, this.#open()), begin, prepared);
  }

  async #run(
    inner: Inner,
    begin: (inner: Inner, call: CallSide) => void,
    prepared?: Prepared,
  ): Promise<{ outcome: Outcome; side: CallSide }> {
    const side = new CallSide(this.#environment, prepared);
    platform.waitUntil?.(side.over.catch(() => {}));
    try {
      enter(() => begin(inner, side));
    } catch (error) {
      side.died();
      await side.over.catch(() => {});
      throw policyFailure(error);
    }
    return { outcome: await side.over, side };
  }

  #open(): Promise<Inner> {
    if (this.#inner !== undefined && this.#life !== currentLife()) {
      if (this.#holdsKey) {
        throw new AgentError("trapped", "the WebAssembly instance has failed, and its keys with it: make a new agent");
      }
      this.#inner = this.#opening = undefined;
    }
    this.#opening ??= this.#begin().catch((error: unknown) => {
      // A wallet or a store that was not there may be there the next time; a key that was taken is not.
      if (!this.#holdsKey || this.#inner !== undefined) this.#opening = undefined;
      throw error;
    });
    return this.#opening;
  }

  async #begin(): Promise<Inner> {
    const inner = this.#inner ?? (await this.#make());
    const { store } = this.#options;
    if (store.beginsAnew === true) replyOf(await this.#run(inner, (inner, call) => inner.begin(call)));
    await this.#takeUp(inner);
    return inner;
  }

  async #make(): Promise<Inner> {
    const { wallet, holder, clock, onEvent } = this.#options;
    const hears = onEvent !== undefined;
    const wasm = instance();
    const secret = wallet?.secret?.();
    this.#holdsKey ||= secret !== undefined;
    let holderSecret: Uint8Array | undefined;
    let inner: Inner;
    try {
      const own = secret === undefined ? undefined : wasm.address_of(secret);
      const accounts = JSON.stringify({ accounts: (await wallet?.accounts(own)) ?? [], keeps_tokens: true });
      // Not before the wallet is there, which may take more than one call.
      holderSecret = holder?.secret?.();
      this.#holdsKey ||= holderSecret !== undefined;
      if (holderSecret !== undefined) this.#holder = wasm.holder_of(holderSecret);
      else if (holder !== undefined) this.#holder = JSON.stringify(await holder.jwk());
      const policy = this.#policy;
      inner = enter((wasm) => new wasm.Agent(policy, accounts, secret, this.#holder, holderSecret, clock, hears));
      // In workers, what belongs to one request is not touched while another runs.
      if (platform.waitUntil !== undefined) inner.stand_apart();
    } catch (error) {
      throw policyFailure(error);
    } finally {
      secret?.fill(0);
      holderSecret?.fill(0);
    }
    if (this.#closing.signal.aborted) {
      inner.free();
      throw this.#closing.signal.reason;
    }
    this.#life = currentLife();
    this.#inner = inner;
    return inner;
  }

  /** Takes up what processes that are gone have left. */
  async #takeUp(inner: Inner): Promise<void> {
    const { store } = this.#options;
    if (store.alone === undefined) return;
    const status = told<Status>(replyOf(await this.#run(inner, (inner, call) => inner.status(call))));
    // Whoever comes after this look cannot be meant.
    const ids = status.open.filter(({ stage }) => stage === "held" || stage === "sent").map(({ id }) => id);
    if ((await store.alone()) && ids.length > 0) {
      replyOf(await this.#run(inner, (inner, call) => inner.abandon(call, ids)));
    }
  }

  #wanted({ request, body }: Prepared, init?: AgentRequestInit): string {
    const { task, agent, quote } = init?.farebox ?? {};
    return JSON.stringify({
      method: request.method,
      url: request.url,
      headers: [...request.headers].flat(),
      task: task ?? this.#options.task,
      agent: agent ?? this.#options.agent,
      quote,
      body: body === null ? undefined : true,
    });
  }

  #tell(method: string, url: string, event: Record<string, unknown> & { type: AgentEvent["type"] }): void {
    const { onEvent, clock } = this.#options;
    if (onEvent === undefined) return;
    try {
      onEvent({ at: (clock ?? Date.now)(), method, url, ...event } as AgentEvent);
    } catch (error) {
      console.error(`farebox: onEvent threw: ${String(error)}`);
    }
  }
}

/** The reply of a call that went well. */
function replyOf({ outcome, side }: { outcome: Outcome; side: CallSide }): unknown {
  const error = failure(outcome.reply, { cause: side.cause });
  if (error !== undefined) throw error;
  return outcome.reply;
}

function text(policy: object | string): string {
  return typeof policy === "string" ? policy : JSON.stringify(policy);
}

/** Reads a policy. @throws {PolicyError} */
function described(policy: string): PolicyInfo {
  try {
    return JSON.parse(enter((wasm) => wasm.read_policy(policy))) as PolicyInfo;
  } catch (error) {
    throw policyFailure(error);
  }
}

/** Node wants this word with a body that is a stream. */
function streaming(init: AgentRequestInit | undefined): RequestInit | undefined {
  if (!(init?.body instanceof ReadableStream)) return init;
  return { duplex: "half", ...init } as RequestInit;
}

/** Reads the body, so that the request can be sent with a payment after it was sent without. */
async function prepare(request: Request, closing: AbortSignal): Promise<Prepared> {
  closing.throwIfAborted();
  // Not every browser has `Request.body`, so its absence says nothing.
  const none = request.body === null || request.method === "GET" || request.method === "HEAD";
  const bytes = none ? null : await read(request);
  return { request, body: bytes?.length === 0 ? null : bytes };
}

/** All bytes of a body, of which nothing more is taken when the signal aborts. */
async function read(request: Request): Promise<Uint8Array<ArrayBuffer>> {
  const { body, signal } = request;
  if (!body) return new Uint8Array(await unlessAborted(signal, request.arrayBuffer()));
  const reader = body.getReader();
  const parts: Uint8Array<ArrayBuffer>[] = [];
  try {
    for (;;) {
      const { done, value } = await unlessAborted(signal, reader.read());
      if (done) return new Uint8Array(await new Blob(parts).arrayBuffer());
      parts.push(value);
    }
  } catch (error) {
    void reader.cancel(error).catch(() => {});
    throw error;
  }
}
