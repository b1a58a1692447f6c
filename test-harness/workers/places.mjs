// The ledger alone: each message goes to the place of the ledger that the path names.
import { durableObjectStore, LedgerObject } from "farebox/durable-object";

export { LedgerObject };

export default {
  async fetch(request, env) {
    const [, ledger, claims, tokens, place] = new URL(request.url).pathname.split("/");
    const namespace = {
      idFromName: (name) => env.LEDGER.idFromName(`${ledger} ${name}`),
      get: (id) => env.LEDGER.get(id),
    };
    const message = new Uint8Array(await request.arrayBuffer());
    const ceilings = { claims: Number(claims), tokens: Number(tokens) };
    const store = durableObjectStore(namespace, { objects: 2, ceilings });
    return new Response(await store.send(Number(place), message));
  },
};
