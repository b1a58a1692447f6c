// A gate whose WebAssembly traps at a request that asks for it, in front of an upstream that takes its time.
import { createGate, memoryStore } from "farebox/gate";

export class LedgerObject {}

const slow = () => new Promise((resolve) => setTimeout(() => resolve(new Response("late")), 5000));
let gate;

export default {
  async fetch(request, env) {
    gate ??= createGate(env.POLICY, { store: memoryStore() });
    if (!request.headers.has("x-trap")) return gate.fetch(request, slow);
    const { now } = Date;
    Date.now = () => {
      if (!new Error().stack.includes("wasm")) return now();
      Date.now = now;
      throw new WebAssembly.RuntimeError("unreachable");
    };
    return gate.fetch(request, slow);
  },
};
