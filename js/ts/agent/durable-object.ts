// `farebox/agent/durable-object`: counters in a Durable Object.
import type { Store } from "./types.js";

/** As much of a Durable Object namespace as is needed. */
export interface Namespace {
  idFromName(name: string): unknown;
  get(id: never): { fetch(request: Request): Promise<Response> };
}

/** As much of a Durable Object's state as is needed: storage on SQLite. */
export interface ObjectState {
  readonly storage: {
    readonly kv: { get(key: string): unknown; put(key: string, value: unknown): void };
  };
}

const URL = "https://farebox.invalid/";
const VERSION = "farebox-version";

/** Counters in an object of the class {@link CountersObject}; `name` is the agent's, one object each. */
export function durableObjectStore(namespace: Namespace, name = "agent"): Store {
  // Stubs belong to the request that made them.
  const ask = (init: RequestInit) =>
    namespace.get(namespace.idFromName(`farebox-agent-${name}`) as never).fetch(new Request(URL, init));
  return {
    async load() {
      const response = await ask({ method: "GET" });
      const version = response.headers.get(VERSION);
      const bytes = new Uint8Array(await response.arrayBuffer());
      if (response.status === 204) return undefined;
      if (!response.ok || version === null) throw new Error(`status ${response.status}`);
      return { bytes, version };
    },
    async swap(expected, bytes) {
      const headers = { [VERSION]: expected ?? "" };
      const response = await ask({ method: "PUT", headers, body: bytes as BodyInit });
      await response.arrayBuffer();
      if (response.status === 412) return false;
      if (!response.ok) throw new Error(`status ${response.status}`);
      return true;
    },
  };
}

/** Bytes of one value of an object's storage. */
const PART = 1024 * 1024;

/**
 * The counters of one agent. Export it from the Worker, and bind it as a Durable Object namespace with SQLite storage.
 *
 * An answer leaves the object only when what it says is on disk.
 */
export class CountersObject {
  /** For `DurableObjectNamespace<CountersObject>`, which wants it of a type. */
  declare readonly __DURABLE_OBJECT_BRAND: never;
  readonly #kv: ObjectState["storage"]["kv"];

  constructor(state: ObjectState, _env?: unknown) {
    this.#kv = state.storage.kv;
    this.#kv.get(""); // throws, and says why, if the storage is not on SQLite
  }

  async fetch(request: Request): Promise<Response> {
    if (request.method === "GET") return this.#load();
    const bytes = new Uint8Array(await request.arrayBuffer());
    // From here on nothing waits, so nothing comes between the look and the change.
    const version = String(this.#kv.get("version") ?? "");
    if (version !== request.headers.get(VERSION)) return new Response(null, { status: 412 });
    const parts = Math.ceil(bytes.length / PART);
    for (let part = 0; part < parts; part += 1) {
      this.#kv.put(`part ${part}`, bytes.slice(part * PART, (part + 1) * PART));
    }
    this.#kv.put("parts", parts);
    this.#kv.put("version", String(Number(version) + 1));
    return new Response(null, { status: 204 });
  }

  #load(): Response {
    const version = this.#kv.get("version");
    if (version === undefined) return new Response(null, { status: 204 });
    const parts = Array.from({ length: Number(this.#kv.get("parts")) }, (_, part) => this.#kv.get(`part ${part}`));
    return new Response(new Blob(parts as BlobPart[]), { headers: { [VERSION]: String(version) } });
  }
}
