// Keys that tokens are bound to.
import { AgentError, type HolderKey } from "./types.js";

/** Where a key of WebCrypto is kept. */
export interface WebCryptoHolderOptions {
  /** Name of the database of IndexedDB; `farebox-holder` if absent. `null`: the key is for as long as this page lives. */
  name?: string | null;
}

const TABLE = "keys";
const KEY = "holder";

/**
 * An Ed25519 key that the runtime makes and never gives out (WebCrypto, not extractable). In browsers it is kept in
 * IndexedDB, so that tokens are good after the page was closed; elsewhere it ends with the process.
 *
 * Where the runtime has no Ed25519, asking for it fails with `no_ed25519`: use {@link holderKey}.
 */
export function webCryptoHolder({ name = "farebox-holder" }: WebCryptoHolderOptions = {}): HolderKey {
  let made: Promise<CryptoKeyPair> | undefined;
  const pair = () =>
    (made ??= (name === null || globalThis.indexedDB === undefined ? generated() : kept(name)).catch((error: unknown) => {
      made = undefined;
      throw error;
    }));
  return {
    async jwk() {
      const { kty, crv, x } = await crypto.subtle.exportKey("jwk", (await pair()).publicKey);
      return { kty: kty!, crv: crv!, x: x! };
    },
    async sign(bytes) {
      const signature = await crypto.subtle.sign("Ed25519", (await pair()).privateKey, bytes as BufferSource);
      return new Uint8Array(signature);
    },
  };
}

/**
 * An Ed25519 key that lives inside the WebAssembly instance, for runtimes without Ed25519 in WebCrypto, and for keys that
 * outlive a process.
 *
 * @param secret 32 bytes, which are wiped here once the agent has them; random ones if absent.
 */
export function holderKey(secret: Uint8Array = crypto.getRandomValues(new Uint8Array(32))): HolderKey {
  let bytes = secret;
  if (bytes.length !== 32) throw new AgentError("wallet", "a holder's key has 32 bytes");
  const elsewhere = () => Promise.reject(new AgentError("wallet", "this key lives in the agent"));
  return {
    jwk: elsewhere,
    sign: elsewhere,
    secret() {
      const taken = bytes;
      bytes = new Uint8Array();
      if (taken.length === 0) throw new AgentError("wallet", "this key was given to an agent before");
      return taken;
    },
  };
}

async function generated(): Promise<CryptoKeyPair> {
  try {
    return (await crypto.subtle.generateKey("Ed25519", false, ["sign", "verify"])) as CryptoKeyPair;
  } catch (cause) {
    throw new AgentError("no_ed25519", "this runtime's WebCrypto has no Ed25519: use holderKey()", { cause });
  }
}

/** The key of this name; a new one if there is none. Of two tabs that make one at once, the first one's is kept. */
async function kept(name: string): Promise<CryptoKeyPair> {
  const request = indexedDB.open(name, 1);
  request.onupgradeneeded = () => request.result.createObjectStore(TABLE);
  const database = await settled(request);
  const found = () => settled<CryptoKeyPair | undefined>(database.transaction(TABLE).objectStore(TABLE).get(KEY));
  const there = await found();
  if (there !== undefined) return there;
  const pair = await generated();
  await settled(database.transaction(TABLE, "readwrite").objectStore(TABLE).add(pair, KEY)).catch(() => {});
  return (await found()) ?? pair;
}

function settled<T>(request: IDBRequest<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = (event) => {
      event.preventDefault();
      reject(request.error);
    };
  });
}
