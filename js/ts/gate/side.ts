// What the core asks of JavaScript, for one exchange or for one turn of the work between exchanges.
import { currentLife, settle, unwatch, watch } from "./instance.js";
import type { Side as Contract } from "../wasm/farebox_gate.js";
import type { Environment, Facts, Next } from "./types.js";

/** The part that exchanges and the work between them share. */
export abstract class Side implements Contract {
  /** Resolves when nothing of it is under way any more. */
  readonly over: Promise<void>;
  /** When it last did something: asked, or was answered. Of what has a time limit, when that is over. */
  active = Date.now();
  protected readonly life = currentLife();
  protected readonly environment: Environment;
  #over!: () => void;

  constructor(environment: Environment) {
    this.environment = environment;
    this.over = new Promise((resolve) => (this.#over = resolve));
    watch(this);
  }

  callout(
    id: number,
    cluster: string,
    url: string,
    method: string,
    headers: string[],
    body: Uint8Array,
    timeout: number,
    most: number,
  ): void {
    this.#settleWith(id, this.#callout(cluster, url, method, headers, body, timeout, most));
    this.#stir(timeout);
  }

  async #callout(
    cluster: string,
    url: string,
    method: string,
    headers: string[],
    body: Uint8Array,
    timeout: number,
    most: number,
  ): Promise<[string, Uint8Array]> {
    const stop = new AbortController();
    let request: Request;
    let service;
    try {
      service = this.environment.service(cluster);
      request = new Request(url, {
        method,
        headers: pairs(headers),
        body: body.length > 0 ? (body as BodyInit) : null,
        redirect: "manual",
        signal: stop.signal,
      });
    } catch (error) {
      this.log("error", `${url} cannot be asked: ${String(error)}`);
      throw "not sent";
    }
    const answer = async (): Promise<[string, Uint8Array]> => {
      const response = await service(request);
      return [lines(response), await bytes(response.body, most, "too large")];
    };
    let timer;
    // A binding need not obey the signal.
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(() => {
        stop.abort();
        reject("too late");
      }, timeout);
    });
    try {
      return await Promise.race([answer(), late]);
    } finally {
      clearTimeout(timer);
    }
  }

  sleep(id: number, milliseconds: number): void {
    setTimeout(() => settle(this.life, id, true, undefined), milliseconds);
  }

  store(id: number, place: number, message: Uint8Array): void {
    const answer = async () => {
      try {
        return await this.environment.store.send(place, message);
      } catch (error) {
        this.log("error", `the ledger's place ${place} failed: ${String(error)}`);
        throw error;
      }
    };
    this.#settleWith(id, answer());
  }

  event(name: string, labels: string[], value: number): void {
    this.environment.event({ name, labels: Object.fromEntries(pairs(labels)), value, ...this.facts() });
  }

  audit(line: string): void {
    this.environment.audit(line);
  }

  log(level: string, text: string): void {
    this.environment.log({ level: level as "debug" | "info" | "warn" | "error", text });
  }

  done(): void {
    unwatch(this);
    this.#over();
  }

  died(): void {
    unwatch(this);
    this.#over();
  }

  body(id: number, _limit: number): void {
    this.#settleWith(id, Promise.reject("no body"));
  }

  forward(id: number, _edits: string[]): void {
    this.#settleWith(id, Promise.reject("nothing to forward"));
  }

  sent(id: number): void {
    this.#settleWith(id, Promise.resolve(0));
  }

  release(_edits: string[]): boolean {
    return false;
  }
  reply(_status: number, _headers: string[], _body: Uint8Array, _grpcStatus: number | undefined): void {}
  note(_name: string, _value: string): void {}

  protected facts(): { exchange?: Facts } {
    return {};
  }

  #settleWith(id: number, promise: Promise<unknown>): void {
    this.#stir();
    const tell = (good: boolean, value: unknown) => {
      this.#stir();
      settle(this.life, id, good, value);
    };
    promise.then(
      (value) => tell(true, value),
      (error: unknown) => tell(false, error),
    );
  }

  #stir(milliseconds = 0): void {
    this.active = Math.max(this.active, Date.now() + milliseconds);
  }

  /** For the exchange's own promises. */
  protected settleWith(id: number, promise: Promise<unknown>): void {
    this.#settleWith(id, promise);
  }
}

/** One turn of the work between exchanges. */
export class TurnSide extends Side {}

/** One exchange: a request on its way through the gate. */
export class ExchangeSide extends Side {
  /** What the client gets; nothing if it was never decided. */
  readonly response: Promise<Response | undefined>;
  readonly #request: Request;
  readonly #next: Next;
  readonly #facts: Facts = {};
  #answer!: (response: Response | undefined) => void;
  #answered = false;
  #read: Uint8Array | undefined;
  #held: Response | undefined;
  #counts: number | undefined;

  constructor(environment: Environment, request: Request, next: Next) {
    super(environment);
    this.#request = request;
    this.#next = next;
    this.response = new Promise((resolve) => (this.#answer = resolve));
  }

  /** The request's header fields for the core, pseudo headers first. */
  headers(): string {
    const { method, headers, url } = this.#request;
    const { protocol, host, pathname, search } = new URL(url);
    let text = `:method\n${method}\n:scheme\n${protocol.slice(0, -1)}\n:authority\n${host}\n:path\n${pathname}${search}\n`;
    for (const [name, value] of headers) {
      if (name === "host") continue;
      // `Headers` join fields of one name; in these a comma can be nothing else.
      const values = COMMALESS.has(name) ? value.split(", ") : [value];
      for (const value of values) text += `${name}\n${value}\n`;
    }
    return text;
  }

  override body(id: number, limit: number): void {
    const read = async () => {
      try {
        this.#read = await bytes(this.#request.body, limit, "too large");
        return this.#read;
      } catch (error) {
        if (error === "too large") return undefined;
        throw error;
      }
    };
    this.settleWith(id, read());
  }

  override forward(id: number, edits: string[]): void {
    this.settleWith(id, this.#forward(edits));
  }

  async #forward(edits: string[]): Promise<string> {
    try {
      const response = await this.#next(this.#forwarded(edits));
      if (this.#answered) {
        // The client has gone, or the gate has died, meanwhile.
        void response.body?.cancel().catch(() => {});
      }
      // Found out before anybody is charged for it.
      if (response.bodyUsed || response.body?.locked) throw new Error("its body was read already");
      const read = lines(response);
      this.#held = response;
      return read;
    } catch (error) {
      if (!this.#answered) this.log("error", `the upstream failed: ${String(error)}`);
      this.#held = new Response(null, { status: 503 });
      return lines(this.#held);
    }
  }

  #forwarded(edits: string[]): Request {
    const headers = new Headers(this.#request.headers);
    removeHops(headers);
    const { protocol, host, pathname, search } = new URL(this.#request.url);
    const target = { ":authority": host, ":path": pathname + search };
    for (const [operation, name, value] of triples(edits)) {
      if (name === ":authority" || name === ":path") target[name] = value;
      else edit(headers, operation, name, value);
    }
    const init: RequestInit = { headers, redirect: "manual" };
    if (this.#read !== undefined) {
      init.method = this.#request.method;
      init.signal = this.#request.signal;
      if (!["GET", "HEAD"].includes(this.#request.method)) init.body = this.#read as BodyInit;
      return new Request(`${protocol}//${target[":authority"]}${target[":path"]}`, init);
    }
    // Compared as text: a runtime may keep dot segments in a request's URL that the judged one has no more.
    const judged = `${protocol}//${target[":authority"]}${target[":path"]}`;
    if (judged === this.#request.url) return new Request(this.#request, init);
    return new Request(new Request(judged, this.#request), init);
  }

  override sent(id: number): void {
    this.#counts = id;
  }

  override release(edits: string[]): boolean {
    const held = this.#held;
    if (held === undefined) {
      this.#give(undefined);
      return false;
    }
    if (edits.length === 0 && this.#counts === undefined) {
      this.#give(held);
      return true;
    }
    const counts = this.#counts;
    // Nobody reads it, so nobody would hear of its end.
    const unread = counts !== undefined && this.#request.method === "HEAD";
    if (unread) void held.body?.cancel().catch(() => {});
    try {
      const body = unread ? null : held.body;
      const counted = counts === undefined || body === null ? undefined : this.#counted(body, counts);
      const response = new Response(counted ?? body, held);
      for (const [operation, name, value] of triples(edits)) edit(response.headers, operation, name, value);
      if (counted !== undefined) this.#counts = undefined; // it tells
      this.#give(response);
      return true;
    } catch (error) {
      this.log("error", `the response cannot be let go: ${String(error)}`);
      this.#give(undefined);
      return false;
    }
  }

  override reply(status: number, headers: string[], body: Uint8Array, grpcStatus: number | undefined): void {
    void this.#held?.body?.cancel().catch(() => {});
    try {
      const fields = new Headers();
      for (const [name, value] of pairs(headers)) edit(fields, "add", name, value);
      if (grpcStatus !== undefined) {
        fields.set("grpc-status", String(grpcStatus));
        fields.set("grpc-message", percentEncoded(body));
        return this.#give(new Response(null, { status: 200, headers: fields }));
      }
      const nothing = status === 204 || status === 304;
      this.#give(new Response(nothing ? null : (body as BodyInit), { status, headers: fields }));
    } catch (error) {
      this.log("error", `an answer cannot be given: ${String(error)}`);
      this.#give(undefined);
    }
  }

  override note(name: string, value: string): void {
    (this.#facts as Record<string, string>)[name] = value;
  }

  /** The body, and `counts` hears how much of it was sent. */
  #counted(body: ReadableStream<Uint8Array>, counts: number): ReadableStream<Uint8Array> {
    const reader = body.getReader();
    let sent = 0;
    const tell = () => settle(this.life, counts, true, sent);
    return new ReadableStream<Uint8Array>({
      async pull(controller) {
        try {
          const { done, value } = await reader.read();
          if (!done) {
            sent += value.byteLength;
            return controller.enqueue(value);
          }
          controller.close();
        } catch (error) {
          controller.error(error);
        }
        tell();
      },
      cancel(reason) {
        tell();
        return reader.cancel(reason);
      },
    });
  }

  /** The client has gone. */
  abandoned(): void {
    void this.#held?.body?.cancel().catch(() => {});
    this.#give(undefined);
  }

  override done(): void {
    this.#give(undefined); // unless it was decided
    super.done();
  }

  override died(): void {
    this.log("error", "the gate died in the middle of this exchange");
    this.#give(undefined);
    super.died();
  }

  protected override facts(): { exchange: Facts } {
    return { exchange: this.#facts };
  }

  #give(response: Response | undefined): void {
    if (this.#answered) return;
    this.#answered = true;
    this.#answer(response);
    const counts = this.#counts;
    this.#counts = undefined;
    // Not from within the instance, which is on its way out of a call.
    if (counts !== undefined) queueMicrotask(() => settle(this.life, counts, true, 0));
  }
}

/** Fields of the client whose values have no comma. */
const COMMALESS = new Set(["payment-signature", "x-payment", "capability-token"]);

/** A response's status and header fields for the core. */
function lines(response: Response): string {
  let text = `:status\n${response.status}\n`;
  if (response.body === null) text += ":end\n1\n";
  for (const [name, value] of response.headers) text += `${name}\n${value}\n`;
  return text;
}

/** All bytes of a stream; throws `complaint` as soon as there are more than `most`. */
async function bytes(stream: ReadableStream<Uint8Array> | null, most: number, complaint: string): Promise<Uint8Array> {
  if (stream === null) return new Uint8Array();
  const reader = stream.getReader();
  const parts: Uint8Array[] = [];
  let length = 0;
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    length += value.length;
    if (length > most) {
      void reader.cancel().catch(() => {});
      throw complaint;
    }
    parts.push(value);
  }
  if (parts.length === 1) return parts[0]!;
  const whole = new Uint8Array(length);
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

function edit(headers: Headers, operation: string, name: string, value: string): void {
  if (operation === "remove") headers.delete(name);
  else if (operation === "set") headers.set(name, byteString(value));
  else headers.append(name, byteString(value));
}

/** Fields about the client's connection, which are nobody else's; `fetch` refuses most of them. */
const HOPS = ["connection", "expect", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"];

/** Takes out what is about the client's connection. A WebSocket is for the upstream to accept. */
function removeHops(headers: Headers): void {
  const socket = headers.get("upgrade")?.toLowerCase() === "websocket";
  const named = (headers.get("connection") ?? "").toLowerCase().match(/[^\s,]+/g) ?? [];
  for (const name of [...named, ...HOPS]) {
    const isName = /^[\w!#$%&'*+.^`|~-]+$/.test(name);
    if (isName && !(socket && name === "upgrade")) headers.delete(name);
  }
}

/** Header values are bytes: text beyond ASCII goes as UTF-8, one character for each byte. */
function byteString(value: string): string {
  if (!/[^\0-\x7f]/.test(value)) return value;
  return String.fromCharCode(...new TextEncoder().encode(value));
}

/** gRPC's encoding of a status message. */
function percentEncoded(message: Uint8Array): string {
  let text = "";
  for (const byte of message) {
    const plain = byte >= 0x20 && byte <= 0x7e && byte !== 0x25;
    text += plain ? String.fromCharCode(byte) : `%${byte.toString(16).toUpperCase().padStart(2, "0")}`;
  }
  return text;
}

function pairs(flat: string[]): [string, string][] {
  const all: [string, string][] = [];
  for (let at = 0; at + 1 < flat.length; at += 2) all.push([flat[at]!, flat[at + 1]!]);
  return all;
}

function triples(flat: string[]): [string, string, string][] {
  const all: [string, string, string][] = [];
  for (let at = 0; at + 2 < flat.length; at += 3) all.push([flat[at]!, flat[at + 1]!, flat[at + 2]!]);
  return all;
}
