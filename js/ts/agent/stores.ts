// Stores that need nothing but what every runtime has: memory, and IndexedDB.
import type { Store } from "./types.js";

/** Counters in the memory of this process: what was spent is forgotten when it ends. For tests, and for one-time tasks. */
export function memoryStore(): Store {
  let kept: { bytes: Uint8Array; version: string } | undefined;
  return {
    beginsAnew: true,
    load: async () => kept,
    async swap(expected, bytes) {
      if (kept?.version !== expected) return false;
      kept = { bytes, version: String(Number(expected ?? 0) + 1) };
      return true;
    },
  };
}

/** Where in IndexedDB the counters are. */
export interface IndexedDbOptions {
  /** Name of the database; `farebox-agent` if absent. Another name is another agent, with budgets of its own. */
  name?: string;
}

const TABLE = "counters";
const KEY = "blob";

/** Counters in IndexedDB: tabs of one origin share them. */
export function indexedDbStore({ name = "farebox-agent" }: IndexedDbOptions = {}): Store {
  let opening: Promise<IDBDatabase> | undefined;
  const open = () => {
    opening ??= opened(name).catch((error: unknown) => {
      opening = undefined;
      throw error;
    });
    return opening;
  };
  const found = (kept: { bytes: Uint8Array; version: number } | undefined) =>
    kept === undefined ? undefined : { bytes: kept.bytes, version: String(kept.version) };
  let first = true;
  const store: Store = {
    async load() {
      const table = (await open()).transaction(TABLE, "readonly").objectStore(TABLE);
      return found(await settled(table.get(KEY)));
    },
    async swap(expected, bytes) {
      const transaction = (await open()).transaction(TABLE, "readwrite", { durability: "strict" });
      const table = transaction.objectStore(TABLE);
      const kept = found(await settled(table.get(KEY)));
      if (kept?.version !== expected) return false;
      table.put({ bytes, version: Number(expected ?? 0) + 1 }, KEY);
      // Until it is complete, it may still be undone.
      await new Promise<void>((resolve, reject) => {
        transaction.oncomplete = () => resolve();
        transaction.onabort = transaction.onerror = () => reject(transaction.error);
      });
      return true;
    },
  };
  const locks = globalThis.navigator?.locks;
  if (locks !== undefined) {
    const lock = `farebox ${name}`;
    store.alone = async () => {
      if (!first) return false;
      first = false;
      const alone = await locks.request(lock, { ifAvailable: true }, (held) => held !== null);
      // Held as long as this page lives.
      void locks.request(lock, { mode: "shared" }, () => new Promise<void>(() => {})).catch(() => {});
      return alone;
    };
  }
  return store;
}

function opened(name: string): Promise<IDBDatabase> {
  const request = indexedDB.open(name, 1);
  request.onupgradeneeded = () => request.result.createObjectStore(TABLE);
  return settled(request);
}

function settled<T>(request: IDBRequest<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}
