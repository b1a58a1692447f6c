import { createGate, type Gate } from "farebox/gate";
import { durableObjectStore, LedgerObject } from "farebox/durable-object";
import policy from "../policy.json";

// The ledger lives in objects of this class.
export { LedgerObject };

interface Env {
  LEDGER: DurableObjectNamespace<LedgerObject>;
  /** The API that is sold, without a slash at the end: `https://internal.example.com`. */
  API: string;
}

let gate: Gate | undefined;

function theGate(env: Env): Gate {
  gate ??= createGate(policy, { store: durableObjectStore(env.LEDGER), keys: env });
  return gate;
}

export default {
  fetch(request, env) {
    return theGate(env).fetch(request, (request) => {
      const { pathname, search } = new URL(request.url);
      return fetch(new Request(env.API + pathname + search, request));
    });
  },

  // Finds out settlements whose outcome is not known, also while nobody calls.
  async scheduled(_controller, env) {
    await theGate(env).tend();
  },
} satisfies ExportedHandler<Env>;
