// `farebox/durable-object`: the ledger in Durable Objects.
import { enter, instance } from "./instance.js";
import type { Store } from "./types.js";
import type { Place } from "../wasm/farebox_gate.js";
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

/** Live entries that one object expects at most. */
const CEILING = 1_000_000;
const SEED_BYTES = 48;

/**
 * A ledger spread over Durable Objects of the class {@link LedgerObject}.
 *
 * Choose `objects` (16 if absent) once: with another number, it is another ledger, and an empty one.
 */
export function durableObjectStore(namespace: Namespace, options: { objects?: number } = {}): Store {
  const places = options.objects ?? 16;
  if (!Number.isInteger(places) || places < 1 || places > 4096) throw new RangeError("objects: 1 to 4096");
  return {
    places,
    async send(place, message) {
      // Stubs belong to the request that made them.
      const object = namespace.get(namespace.idFromName(`farebox-${places}-${place}`) as never);
      const response = await object.fetch(
        new Request("https://farebox.invalid/", { method: "POST", body: message as BodyInit }),
      );
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
  readonly #place: Place;

  constructor(state: ObjectState, _env?: unknown) {
    const { kv } = state.storage;
    const storage = {
      get: (key: string) => kv.get(key) as Uint8Array | undefined,
      put: (key: string, value: Uint8Array) => kv.put(key, value),
    };
    kv.get(""); // throws, and says why, if the storage is not on SQLite
    const seed = crypto.getRandomValues(new Uint8Array(SEED_BYTES));
    const { Place } = instance();
    this.#place = new Place(storage, CEILING, seed);
  }

  /** Carries out a message of a gate. */
  async fetch(request: Request): Promise<Response> {
    const message = new Uint8Array(await request.arrayBuffer());
    return new Response(enter(() => this.#place.serve(message)) as BodyInit);
  }
}
