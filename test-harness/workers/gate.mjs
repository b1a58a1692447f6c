// The rig's worker: a gate with the policy and the services that it is bound to, in front of the rig's upstream.
import { createGate, memoryStore } from "farebox/gate";
import { durableObjectStore, LedgerObject } from "farebox/durable-object";

export { LedgerObject };

let gate;

export default {
  fetch(request, env) {
    gate ??= createGate(env.POLICY, {
      store: env.MEMORY ? memoryStore() : durableObjectStore(env.LEDGER, { objects: env.OBJECTS ?? 4 }),
      keys: env,
      facilitators: env,
      tendEvery: 1,
      source: () => "127.0.0.1", // all clients of the rig are on this machine
      onEvent: ({ name, labels, value }) => {
        const counted = [name, ...Object.entries(labels).flat()].join(".");
        if (env.COUNT) console.log(JSON.stringify({ counted, value }));
      },
      log: env.QUIET ? false : true,
    });
    return gate.fetch(request, (request) => env.upstream.fetch(request));
  },
};
