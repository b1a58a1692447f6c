// `farebox/durable-object`: the ledger in Durable Objects.
import { currentLife, enter } from "./instance.js";
import type { Store } from "./types.js";
import type { Place, Storage } from "../wasm/farebox_gate.js";
import "./entry.workerd.js";

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

/** How a ledger is spread. */
export interface DurableObjectOptions {
  /**
   * Over how many objects; 16 if absent. Choose once: with another number, it is another ledger, and an empty one.
   */
  objects?: number;
  /** Live claims and token families that each object expects at most, a million if absent; an object keeps to its first. */
  ceilings?: { claims: number; tokens: number };
}

const MILLION = 1_000_000;
const SEED_BYTES = 48;

/** A ledger spread over Durable Objects of the class {@link LedgerObject}. */
export function durableObjectStore(namespace: Namespace, options: DurableObjectOptions = {}): Store {
  const places = options.objects ?? 16;
  if (!Number.isInteger(places) || places < 1 || places > 4096) throw new RangeError("objects: 1 to 4096");
  const { claims, tokens } = options.ceilings ?? { claims: MILLION, tokens: MILLION };
  const url = `https://farebox.invalid/?claims=${claims}&tokens=${tokens}`;
  return {
    places,
    async send(place, message) {
      // Stubs belong to the request that made them.
      const object = namespace.get(namespace.idFromName(`farebox-${places}-${place}`) as never);
      const response = await object.fetch(new Request(url, { method: "POST", body: message as BodyInit }));
      if (!response.ok) throw new Error(`status ${response.status}`);
      return new Uint8Array(await response.arrayBuffer());
    },
  };
}

/**
 * One place of a ledger. Export it from the Worker, and bind it as a Durable Object namespace with SQLite storage.
 *
 * An answer leaves the object only when what it says is on disk.
 */
export class LedgerObject {
  /** For `DurableObjectNamespace<LedgerObject>`, which wants it of a type. */
  declare readonly __DURABLE_OBJECT_BRAND: never;
  readonly #storage: Storage;
  #place: Place | undefined;
  #life = -1;

  constructor(state: ObjectState, _env?: unknown) {
    const { kv } = state.storage;
    kv.get(""); // throws, and says why, if the storage is not on SQLite
    this.#storage = {
      get: (key) => kv.get(key) as Uint8Array | undefined,
      put: (key, value) => kv.put(key, value),
    };
  }

  /** Carries out a message of a gate. */
  async fetch(request: Request): Promise<Response> {
    const message = new Uint8Array(await request.arrayBuffer());
    const place = this.#opened(new URL(request.url).searchParams);
    return new Response(enter(() => place.serve(message)) as BodyInit);
  }

  /** The store, opened anew if the instance that it was opened in has died. */
  #opened(ceilings: URLSearchParams): Place {
    if (this.#place === undefined || this.#life !== currentLife()) {
      const seed = crypto.getRandomValues(new Uint8Array(SEED_BYTES));
      const [claims, tokens] = [Number(ceilings.get("claims")), Number(ceilings.get("tokens"))];
      this.#place = enter(({ Place }) => new Place(this.#storage, claims, tokens, seed));
      this.#life = currentLife();
    }
    return this.#place;
  }
}
