// What the engine asks of JavaScript, for one call of an agent.
import { currentLife, settle, unwatch, watch } from "./instance.js";
import { AgentError, type Hex, type HolderKey, type Store, type TypedData, type Wallet } from "./types.js";
import type { Call as Contract } from "../wasm/farebox_agent.js";

/** Milliseconds that the part of a body that is read may take to come. */
const PEEK = 10_000;

/** What a call needs to know of its agent. */
export interface Environment {
  readonly store: Store;
  readonly wallet: Wallet | undefined;
  readonly holder: HolderKey | undefined;
  send(request: Request): Promise<Response>;
  /** Something has happened for a request. */
  event(prepared: Prepared | undefined, event: string): void;
  /** A wallet is about to be asked. */
  signing(prepared: Prepared, payer: string, typedData: TypedData, digest: Hex): void;
}

/** A request whose body is at hand. */
export interface Prepared {
  readonly request: Request;
  readonly body: Uint8Array<ArrayBuffer> | null;
}

/** What came of a call. */
export interface Outcome {
  /** The engine's reply. */
  reply: unknown;
  /** The response that goes with it. */
  response: Response | undefined;
}

/** One call. */
export class CallSide implements Contract {
  /** Resolves when it is over; fails only if the instance has died. */
  readonly over: Promise<Outcome>;
  /** What was last thrown while something was sent, signed or counted. */
  cause: unknown;
  /** The last response. */
  last: Response | undefined;
  readonly #life = currentLife();
  readonly #environment: Environment;
  readonly #prepared: Prepared | undefined;
  readonly #signal: AbortSignal | undefined;
  /** Ends what is slept through. */
  readonly #sleeping = new Set<() => void>();
  #resolve!: (outcome: Outcome) => void;
  #reject!: (error: Error) => void;

  constructor(environment: Environment, prepared?: Prepared) {
    this.#environment = environment;
    this.#prepared = prepared;
    this.#signal = prepared?.request.signal;
    this.over = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
    watch(this);
  }

  gone(): boolean {
    return this.#signal?.aborted ?? false;
  }

  send(id: number, method: string, url: string, headers: string[], secret: boolean): void {
    this.#settleWith(id, this.#send(method, url, headers, secret));
  }

  async #send(method: string, url: string, headers: string[], secret: boolean): Promise<[string, Response]> {
    const { request, body } = this.#prepared!;
    request.signal?.throwIfAborted();
    // The engine asks for a seller's keys by itself.
    if (!secret && url !== request.url) {
      const aside = new Request(url, { method, headers: pairs(headers), signal: request.signal ?? null });
      const response = await this.#environment.send(aside);
      return [lines(response), response];
    }
    discard(this.last);
    const copy = new Request(url, {
      ...carried(request),
      method,
      headers: pairs(headers),
      body,
      redirect: secret ? "manual" : request.redirect,
      signal: request.signal ?? null,
    });
    const response = await this.#environment.send(copy);
    this.last = response;
    return [lines(response), response];
  }

  peek(id: number, response: Response, limit: number): void {
    this.#settleWith(id, peeked(response, limit).then((bytes) => [bytes, response]));
  }

  sleep(id: number, milliseconds: number): void {
    const signal = this.#signal;
    const slept = new Promise<void>((resolve) => {
      if (signal?.aborted) return resolve();
      const over = () => {
        clearTimeout(timer);
        this.#sleeping.delete(over);
        signal?.removeEventListener("abort", over);
        resolve();
      };
      const timer = setTimeout(over, milliseconds);
      this.#sleeping.add(over);
      signal?.addEventListener("abort", over);
    });
    this.#settleWith(id, slept);
  }

  load(id: number): void {
    const load = async () => {
      const blob = await this.#environment.store.load();
      return blob === undefined ? undefined : [blob.bytes, blob.version];
    };
    this.#settleWith(id, load());
  }

  swap(id: number, expected: string | undefined, bytes: Uint8Array): void {
    this.#settleWith(id, (async () => this.#environment.store.swap(expected, bytes))());
  }

  sign(id: number, account: string, typedData: string, digest: string): void {
    this.#settleWith(id, this.#sign(account, JSON.parse(typedData) as TypedData, digest as Hex));
  }

  async #sign(account: string, typedData: TypedData, digest: Hex): Promise<Uint8Array> {
    const { wallet } = this.#environment;
    if (wallet === undefined) throw "no wallet";
    this.#environment.signing(this.#prepared!, account, typedData, digest);
    try {
      // Who hears of it may have aborted the call.
      this.#signal?.throwIfAborted();
      return bytesOf(await unlessAborted(this.#signal, wallet.sign(account, typedData, digest)));
    } catch (error) {
      this.cause = error;
      if (this.gone()) throw "declined";
      const code = (error as { code?: unknown } | null)?.code;
      throw code === 4001 || code === "ACTION_REJECTED" ? "declined" : "failed";
    }
  }

  prove(id: number, message: Uint8Array): void {
    const sign = async () => {
      const { holder } = this.#environment;
      if (holder === undefined) throw "no holder";
      return holder.sign(message);
    };
    this.#settleWith(id, sign());
  }

  event(event: string): void {
    this.#environment.event(this.#prepared, event);
  }

  done(reply: string, response: Response | undefined): void {
    unwatch(this);
    for (const over of this.#sleeping) over();
    // Where there is no response, whoever throws the error decides about the last one.
    if (response !== undefined && response !== this.last) discard(this.last);
    this.#resolve({ reply: JSON.parse(reply), response });
  }

  died(): void {
    this.#reject(new AgentError("trapped", "the WebAssembly instance has failed; what was sent stays reserved"));
  }

  #settleWith(id: number, promise: Promise<unknown>): void {
    promise.then(
      (value) => settle(this.#life, id, true, value),
      (error: unknown) => {
        if (typeof error !== "string") this.cause = error;
        settle(this.#life, id, false, typeof error === "string" ? error : "failed");
      },
    );
  }
}

/** What comes of a promise, or the signal's reason as soon as it aborts. */
export function unlessAborted<T>(signal: AbortSignal | null | undefined, promise: PromiseLike<T> | T): Promise<T> {
  // Not every runtime's requests have one.
  if (!signal) return Promise.resolve(promise);
  return new Promise((resolve, reject) => {
    const gone = () => reject(signal.reason);
    if (signal.aborted) gone();
    signal.addEventListener("abort", gone);
    const over = () => signal.removeEventListener("abort", gone);
    Promise.resolve(promise).then(resolve, reject).finally(over);
  });
}

/** Lets go of a response that nobody reads. */
export function discard(response: Response | undefined): void {
  void response?.body?.cancel().catch(() => {});
}

/** Whatever a request says of how it is to be sent, besides its redirects. Runtimes know some of these. */
function carried(request: Request): RequestInit {
  const init: Record<string, unknown> = {};
  const usual: Record<string, unknown> = {
    cache: "default",
    credentials: "same-origin",
    integrity: "",
    keepalive: false,
    mode: "cors",
    referrer: "about:client",
    referrerPolicy: "",
  };
  for (const [name, value] of Object.entries(usual)) {
    const said = (request as unknown as Record<string, unknown>)[name];
    if (said !== undefined && said !== value) init[name] = said;
  }
  return init as RequestInit;
}

/** At most `limit` bytes of a body, of which nothing is taken away. */
async function peeked(response: Response, limit: number): Promise<Uint8Array> {
  const reader = response.clone().body?.getReader();
  if (reader === undefined) return new Uint8Array();
  const parts: Uint8Array[] = [];
  let length = 0;
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<{ done: true; value: undefined }>((resolve) => {
    timer = setTimeout(() => resolve({ done: true, value: undefined }), PEEK);
  });
  try {
    while (length < limit) {
      const { done, value } = await Promise.race([reader.read(), late]);
      if (done) break;
      parts.push(value.subarray(0, limit - length));
      length += value.length;
    }
  } catch {
    // What came before it broke is what there is.
  } finally {
    clearTimeout(timer);
    // Never awaited: one half of a body is gone only when the other is.
    void reader.cancel().catch(() => {});
  }
  const bytes = new Uint8Array(Math.min(length, limit));
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}

/** Status, URL and header fields for the engine: names and values by turns, each with a line feed. */
function lines(response: Response): string {
  let text = `:status\n${response.status}\n:url\n${response.url}\n`;
  for (const [name, value] of response.headers) text += `${name}\n${value}\n`;
  return text;
}

function pairs(words: string[]): [string, string][] {
  const all: [string, string][] = [];
  for (let at = 0; at + 1 < words.length; at += 2) all.push([words[at]!, words[at + 1]!]);
  return all;
}

function bytesOf(hex: string): Uint8Array {
  if (!/^0x(?:[0-9a-fA-F]{2})+$/.test(hex)) throw new AgentError("bad_signature", "the wallet gave no hexadecimal bytes");
  const bytes = new Uint8Array(hex.length / 2 - 1);
  for (let at = 0; at < bytes.length; at += 1) bytes[at] = Number.parseInt(hex.slice(2 + 2 * at, 4 + 2 * at), 16);
  return bytes;
}
